"""GRPO in this process or in those that an accelerate config describes; the latter make their rewards from settings."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from tasks.provenance.artifacts import write_rows
from tasks.rewards.composition import Composition, compose
from tasks.rewards.preference import load_preference
from tasks.rewards.registry import Rewards
from tasks.rewards.reinforcement import named_rewards, reinforce
from tasks.rows import PROMPT
from tasks.training import launch
from tasks.training.grpo_settings import GRPO

if TYPE_CHECKING:
    from tasks.progress import Progress

Preference = tuple[Path, float]  # folder of the reward models, weight of what they give


def composed(rules: Rewards, preference: Preference | None = None) -> Composition:
    """The rewards of a stage: rules alone, or with the two reward models under a folder."""
    more = {"preference": (load_preference(preference[0]), preference[1])} if preference else None
    return compose(rules, more)


def train(
    start: Path,
    out: Path,
    rows: list[dict],
    p: GRPO,
    rewards: Composition,
    rules: Rewards,
    template: str,
    seed: int,
    work: Path,
    progress: "Progress | None" = None,
    threads: int = 1,
    accelerate: Path | None = None,
    preference: Preference | None = None,
) -> tuple[dict, list[dict]]:
    """`reinforce`, where `accelerate` is a file of recipes/accelerate/ in the processes that it describes.

    rewards: `composed(rules, preference)`, which the caller has at hand; launched processes make their own.
    """
    if accelerate is None:
        return reinforce(start, out, rows, p, named_rewards(rewards), template, seed, work, progress, threads)
    write_rows(work, "order", ({name: row.get(name) for name in PROMPT.names} for row in rows), PROMPT)
    arguments = {
        "start": start,
        "out": out,
        "rows": work / "order.parquet",
        "settings": p.model_dump(mode="json", exclude_unset=True),
        "rules": rules.model_dump(mode="json", exclude_unset=True),
        "preference": [str(preference[0].resolve()), preference[1]] if preference else None,
        "template": template,
        "seed": seed,
        "work": work,
        "threads": threads,
    }
    metrics, curve = launch.call("tasks.rewards.launched:job", arguments, work, accelerate, progress)
    return metrics, curve


def job(start, out, rows, settings, rules, preference, template, seed, work, threads, progress=None) -> tuple:
    """`train` in each of the launched processes; the arguments are JSON."""
    rewards = composed(Rewards.model_validate(rules), (Path(preference[0]), preference[1]) if preference else None)
    order = pq.read_table(rows).to_pylist()
    p = GRPO.model_validate(settings)
    return reinforce(
        Path(start), Path(out), order, p, named_rewards(rewards), template, seed, Path(work), progress, threads
    )
