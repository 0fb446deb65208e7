"""A checkpoint, prompts and rewards in; a trained policy out: the one GRPO task behind R1-Zero, Dev2, R1 and student RL."""

import functools
from collections.abc import Callable
from pathlib import Path

from tasks.prompts.templates import render
from tasks.rewards import registry
from tasks.rewards.monitor import watched
from tasks.sampling.transformers_engine import end_tokens, generate
from tasks.training import checkpoints, grpo
from tasks.training.settings import GRPO
from tasks.training.trainer import Progress


def named_rewards(weights: dict[str, float], more: dict[str, tuple[Callable, float]] | None = None) -> dict:
    """name -> (function, weight); the first one also watches language and re-checking."""
    rewards = {name: (registry.load(name), weight) for name, weight in weights.items()} | (more or {})
    first = next(iter(rewards))
    return rewards | {first: (watched(rewards[first][0]), rewards[first][1])}


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
    progress: Progress | None = None,
    threads: int = 1,
) -> tuple[dict, list[dict]]:
    """GRPO from the checkpoint `start` on `rows` (from `grpo.lay_out`), saved under `out`; metrics and curve."""
    import torch

    torch.set_num_threads(threads)
    model, tokenizer = checkpoints.load(start)
    end = end_tokens(model, tokenizer)

    def rollout(model, prompt_ids, k, temperature, top_p, max_tokens, seed):
        with torch.no_grad():
            return generate(
                model, prompt_ids, k, temperature, top_p, max_tokens, seed, tokenizer.pad_token_id, end
            )

    ask = functools.partial(render, template)
    log = grpo.optimise(model, tokenizer, rows, p, rewards, ask, rollout, seed, work, progress)
    checkpoints.save(model, tokenizer, out)
    curve = grpo.curve(log)
    return grpo.summary(curve), curve
