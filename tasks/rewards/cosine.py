"""Cosine length reward (Yeo et al. 2025, "Demystifying Long Chain-of-Thought Reasoning in LLMs", section 4).

    R(L) = end + (start - end) / 2 * (1 + cos(pi * L / max))      for L < max tokens
    R(L) = exceed                                                 from max on

with (start, end) by correctness: a right answer earns more the shorter it is (2 -> 1), a wrong one is blamed less the
longer it thought (-10 -> 0), and running into the limit costs `exceed`.
"""

import math
from typing import ClassVar

from pydantic import Field, model_validator

from tasks.rewards.accuracy import Accuracy
from tasks.rewards.length import tokens
from tasks.rewards.reward import Reward


class Cosine(Reward):
    """The formula above; correctness is the accuracy reward's, None where that gives no verdict."""

    name: ClassVar[str] = "cosine"
    best: ClassVar[None] = None

    max_tokens: int = Field(4096, ge=1, description="tokens at which a completion counts as cut off")
    right_short: float = Field(2.0, description="right, at length 0; Yeo et al.: 2")
    right_long: float = Field(1.0, description="right, at max_tokens; Yeo et al.: 1")
    wrong_short: float = Field(-10.0, description="wrong, at length 0; Yeo et al.: -10")
    wrong_long: float = Field(0.0, description="wrong, at max_tokens; Yeo et al.: 0")
    exceed: float = Field(-10.0, description="at max_tokens and past it; Yeo et al.: -10")

    @model_validator(mode="after")
    def _right_beats_wrong(self):
        if min(self.right_short, self.right_long) <= max(self.wrong_short, self.wrong_long):
            raise ValueError(
                "a wrong answer of some length would earn as much as a right one: raise right_*, or lower wrong_*"
            )
        return self

    @property
    def lowest(self) -> float:
        return min(self.wrong_short, self.exceed)

    def __call__(self, prompts, completions, *, completion_ids=None, **columns) -> list[float | None]:
        right = Accuracy(prefilled=self.prefilled)(prompts, completions, **columns)
        return [
            None if ok is None else self.value(ok == 1.0, n)
            for ok, n in zip(right, tokens(completion_ids, self.name), strict=True)
        ]

    def value(self, right: bool, length: int) -> float:
        if length >= self.max_tokens:
            return self.exceed
        start, end = (self.right_short, self.right_long) if right else (self.wrong_short, self.wrong_long)
        return end + (start - end) / 2 * (1 + math.cos(math.pi * length / self.max_tokens))


cosine = Cosine()
