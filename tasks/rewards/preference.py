"""Preference rewards (paper 2.3.4): helpfulness judges the final summary alone, harmlessness the whole response."""

from pathlib import Path

from tasks.rewards.harmlessness import harmlessness
from tasks.rewards.helpfulness import Scorer, helpfulness


class preference:
    """A reward function: each general prompt belongs to one of the two models and is scored by it alone (N, Methods)."""

    __name__ = "preference"
    learned = True

    def __init__(self, helpful: Scorer, safe: Scorer):
        self.helpful, self.safe = helpfulness(helpful), harmlessness(safe)

    def __call__(self, prompts, completions, *, domain, gold, **columns) -> list[float | None]:
        parts = [part(prompts, completions, domain=domain, gold=gold, **columns) for part in (self.helpful, self.safe)]
        return [a if a is not None else b for a, b in zip(*parts, strict=True)]


def load_preference(folder: Path) -> preference:
    """The reward with the two reward models under `folder`."""
    from tasks.training.reward_model import Scorer as Model

    def scorer(name: str) -> Scorer:
        model = Model(folder / name)
        return lambda pairs: model([prompt + response for prompt, response in pairs])

    return preference(scorer("helpful"), scorer("safe"))
