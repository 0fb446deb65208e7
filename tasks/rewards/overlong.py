"""DAPO's soft overlong punishment (Yu et al. 2025, "DAPO", equation 13), to be added to the accuracy reward.

R(L) = 0                                    for L <= max - buffer
R(L) = ((max - buffer) - L) / buffer        for max - buffer < L <= max
R(L) = -1                                   past max
"""

from typing import ClassVar

from pydantic import Field, model_validator

from tasks.rewards.length import tokens
from tasks.rewards.reward import Reward


class Overlong(Reward):
    """The formula above, over the tokens of the completion."""

    name: ClassVar[str] = "overlong"
    best: ClassVar[float] = 0.0

    max_tokens: int = Field(20480, ge=1, description="tokens; DAPO: 20,480")
    buffer: int = Field(
        4096, ge=1, description="last tokens before the maximum, in which the penalty grows; DAPO: 4,096"
    )

    @model_validator(mode="after")
    def _buffer_fits(self):
        if self.buffer > self.max_tokens:
            raise ValueError("buffer is more than max_tokens")
        return self

    @property
    def lowest(self) -> float:
        return -1.0

    def __call__(self, prompts, completions, *, completion_ids=None, **_) -> list[float | None]:
        free = self.max_tokens - self.buffer
        return [-min(1.0, max(0, n - free) / self.buffer) or 0.0 for n in tokens(completion_ids, self.name)]


overlong = Overlong()
