"""Repetition penalty: the share of n-grams that a completion has said before (Yeo et al. 2025, appendix C.2)."""

from typing import ClassVar

from pydantic import Field

from tasks.rewards.reward import Reward


class Repetition(Reward):
    """-max_penalty * (1 - different n-grams / n-grams) over tokens; over words where the caller passes no tokens."""

    name: ClassVar[str] = "repetition"
    best: ClassVar[None] = None  # a good response repeats some n-grams too

    n: int = Field(40, ge=1, description="tokens of an n-gram; Yeo et al.: 40. Short ones repeat in any text")
    max_penalty: float = Field(1.0, gt=0, description="subtracted where every n-gram is a repeat")

    @property
    def lowest(self) -> float:
        return -self.max_penalty

    def __call__(self, prompts, completions, *, completion_ids=None, **_) -> list[float | None]:
        sequences = completion_ids or [text.split() for text in self.texts(prompts, completions)]
        return [-self.max_penalty * self.repeated(list(s)) or 0.0 for s in sequences]

    def repeated(self, sequence: list) -> float:
        count = len(sequence) - self.n + 1
        if count < 2:
            return 0.0
        return 1 - len({tuple(sequence[i : i + self.n]) for i in range(count)}) / count


repetition = Repetition()
