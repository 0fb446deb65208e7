"""Length reward: nothing up to a limit, a linear penalty past it (survey, section on rewards)."""

from typing import ClassVar

from pydantic import Field

from tasks.rewards.reward import Reward


class Length(Reward):
    """-min(1, (tokens - limit) / over) past `limit` tokens, 0 up to it; added to the other rewards."""

    name: ClassVar[str] = "length"
    best: ClassVar[float] = 0.0

    limit: int = Field(4096, ge=1, description="tokens of the completion that cost nothing")
    over: int = Field(1024, ge=1, description="tokens past the limit at which the penalty is 1")

    @property
    def lowest(self) -> float:
        return -1.0

    def __call__(self, prompts, completions, *, completion_ids=None, **_) -> list[float | None]:
        return [-min(1.0, max(0, n - self.limit) / self.over) or 0.0 for n in tokens(completion_ids, self.name)]


def tokens(completion_ids, reward: str) -> list[int]:
    """Length of each completion in tokens."""
    if completion_ids is None:
        raise ValueError(f"the {reward} reward counts tokens and needs `completion_ids`, which TRL passes")
    return [len(ids) for ids in completion_ids]


length = Length()
