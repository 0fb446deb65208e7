"""Preference rewards (paper 2.3.4): helpfulness judges the final summary alone, harmlessness the whole response."""

from collections.abc import Callable
from pathlib import Path

from tasks.responses import parse

Scorer = Callable[[list[tuple[str, str]]], list[float]]  # (rendered prompt, response) pairs -> scores


class preference:
    """A reward function: each general prompt belongs to one of the two models and is scored by it alone (N, Methods)."""

    __name__ = "preference"

    def __init__(self, helpful: Scorer, safe: Scorer):
        """Scores are log-odds of the reward models; the reward is their sigmoid."""
        self.helpful, self.safe = helpful, safe

    def __call__(self, prompts, completions, *, domain, gold, **_) -> list[float | None]:
        import math

        rewards: list[float | None] = [None] * len(prompts)
        general = [i for i, g in enumerate(gold) if g is None]
        for scorer, part in (
            (self.safe, [i for i in general if domain[i] == "safety"]),
            (self.helpful, [i for i in general if domain[i] != "safety"]),
        ):
            whole = scorer is self.safe
            pairs = [
                (prompts[i], completions[i] if whole else parse(completions[i]).summary.strip())
                for i in part
            ]
            for i, score in zip(part, scorer(pairs) if pairs else [], strict=True):
                rewards[i] = 1 / (1 + math.exp(-score))
        return rewards


def load_preference(folder: Path) -> preference:
    """The reward with the two reward models under `folder`."""
    from tasks.training.reward_model import Scorer

    def scorer(name: str):
        model = Scorer(folder / name)
        return lambda pairs: model([prompt + response for prompt, response in pairs])

    return preference(scorer("helpful"), scorer("safe"))
