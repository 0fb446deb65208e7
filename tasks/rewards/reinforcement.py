"""A checkpoint, prompts and rewards in; a trained policy out: the one GRPO task behind R1-Zero, Dev2, R1 and student RL."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.prompts.templates import render
from tasks.rewards.composition import Composition, compose
from tasks.rewards.monitor import watched
from tasks.rewards.registry import Rewards
from tasks.sampling.transformers_engine import end_tokens, generate
from tasks.training import checkpoints, grpo
from tasks.training.settings import GRPO

if TYPE_CHECKING:
    from tasks.progress import Progress

CURVED = ("accuracy", "format", "preference")  # rewards that grpo.curve names


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
    model, tokenizer = checkpoints.load(start)
    end = end_tokens(model, tokenizer)

    def rollout(model, prompt_ids, k, temperature, top_p, max_tokens, seed):
        with torch.no_grad():
            return generate(model, prompt_ids, k, temperature, top_p, max_tokens, seed, tokenizer.pad_token_id, end)

    ask = functools.partial(render, template)
    log = grpo.optimise(model, tokenizer, rows, p, rewards, ask, rollout, seed, work, progress)
    checkpoints.save(model, tokenizer, out)
    curve = [row | curve_of_terms(entry, rewards) for row, entry in zip(grpo.curve(log), log, strict=True)]
    return grpo.summary(curve), curve


def curve_of_terms(entry: dict, rewards: dict) -> dict[str, float | None]:
    """Mean of each reward that the curve has no column of its own for."""
    means = {name: entry.get(f"rewards/{name}/mean") for name in rewards if name not in CURVED}
    return {f"reward_{name}": float(m) if m is not None and m == m else None for name, m in means.items()}
