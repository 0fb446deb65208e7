"""Harmlessness reward (paper 2.3.4): a reward model reads the whole response, reasoning included."""

from tasks.rewards.helpfulness import Scorer, scored
from tasks.rewards.reward import response


class harmlessness:
    """Sigmoid of the model's score of prompt and whole response, on safety prompts; None on all others."""

    __name__ = "harmlessness"
    learned = True

    def __init__(self, scorer: Scorer):
        self.scorer = scorer

    def __call__(self, prompts, completions, *, domain, gold, **_) -> list[float | None]:
        mine = [i for i, g in enumerate(gold) if g is None and domain[i] == "safety"]
        pairs = [(prompts[i], response(prompts[i], completions[i])) for i in mine]
        return scored(self.scorer, mine, pairs, len(prompts))
