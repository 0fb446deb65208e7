"""A checkpoint, prompts and rewards in; a trained policy out: the one GRPO task behind R1-Zero, Dev2, R1 and student RL."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.prompts.templates import render
from tasks.rewards.composition import Composition, compose
from tasks.rewards.monitor import watched
from tasks.rewards.registry import Rewards
from tasks.training import grpo, grpo_log, trainable
from tasks.training.grpo_settings import GRPO
from tasks.training.rollouts import own_rollout

if TYPE_CHECKING:
    from tasks.progress import Progress

CURVED = ("accuracy", "format", "preference")  # rewards that grpo_log.curve names


def named_rewards(rewards: Composition | Rewards | dict) -> dict[str, tuple[Callable, float]]:
    """name -> (function, weight); the first one also watches language and re-checking."""
    if not isinstance(rewards, Composition):
        rewards = compose(Rewards.model_validate(rewards))
    functions = rewards.functions()
    first = next(iter(functions))
    return functions | {first: (watched(functions[first][0]), functions[first][1])}


def of_sources(rows: list[dict], sources: list[str]) -> list[dict]:
    """PROMPT rows of the named sources, ordered by id."""
    return sorted((r for r in rows if r["source"] in sources), key=lambda r: r["id"])


def reinforce(
    start: Path,
    out: Path,
    rows: list[dict],
    p: GRPO,
    rewards: dict[str, tuple[Callable, float]],
    template: str,
    seed: int,
    work: Path,
    progress: "Progress | None" = None,
    threads: int = 1,
) -> tuple[dict, list[dict]]:
    """GRPO from the checkpoint `start` on `rows` (from `grpo.lay_out`), saved under `out`; metrics and curve."""
    import torch

    torch.set_num_threads(threads)
    longest = max(limit for _, limit in p.max_tokens)  # of the completion alone
    model, tokenizer = trainable.load(start, p, longest, seed)
    rollout = own_rollout(model, tokenizer, p.engine) if p.engine.name == "transformers" else None
    ask = functools.partial(render, template)
    log = grpo.optimise(model, tokenizer, rows, p, rewards, ask, rollout, seed, work, progress, out)
    curve = [row | curve_of_terms(entry, rewards) for row, entry in zip(grpo_log.curve(log), log, strict=True)]
    return grpo_log.summary(curve), curve


def curve_of_terms(entry: dict, rewards: dict) -> dict[str, float | None]:
    """Mean of each reward that the curve has no column of its own for."""
    means = {name: entry.get(f"rewards/{name}/mean") for name in rewards if name not in CURVED}
    return {f"reward_{name}": float(m) if m is not None and m == m else None for name, m in means.items()}
