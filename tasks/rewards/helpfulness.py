"""Helpfulness reward (paper 2.3.4): a reward model reads the final summary alone, never the chain of thought."""

import math
from collections.abc import Callable

from tasks.responses import parse
from tasks.rewards.format import verifiable
from tasks.rewards.reward import response

Scorer = Callable[[list[tuple[str, str]]], list[float]]  # (rendered prompt, response) pairs -> scores in log-odds


class helpfulness:
    """Sigmoid of the model's score of prompt and summary; None on prompts that a rule verifies, and on safety prompts."""

    __name__ = "helpfulness"
    learned = True

    def __init__(self, scorer: Scorer):
        self.scorer = scorer

    def __call__(self, prompts, completions, *, domain, gold, **_) -> list[float | None]:
        mine = [i for i, g in enumerate(gold) if not verifiable(domain[i], g) and domain[i] != "safety"]
        texts = [response(p, c) for p, c in zip(prompts, completions, strict=True)]
        return scored(self.scorer, mine, [(prompts[i], parse(texts[i]).summary.strip()) for i in mine], len(prompts))


def scored(scorer: Scorer, where: list[int], pairs: list[tuple[str, str]], count: int) -> list[float | None]:
    """A list of `count` rewards: sigmoids of the scores of `pairs` at `where`, None elsewhere."""
    rewards: list[float | None] = [None] * count
    for i, score in zip(where, scorer(pairs) if pairs else [], strict=True):
        rewards[i] = 1 / (1 + math.exp(-score))
    return rewards
