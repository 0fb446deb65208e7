"""How a long task says where it stands: the signature of every `progress` argument. Imported for its type alone."""

from typing import Protocol


class Progress(Protocol):
    def __call__(
        self,
        done: float,
        total: float,
        unit: str = "steps",
        note: str = "",
        *,
        tokens: int | None = None,
        point: dict | None = None,
        rollouts: list[dict] | None = None,
        timings: list[dict] | None = None,
    ) -> None:
        """`done` of `total` units. A courtesy: the result never depends on who listens.

        tokens: read or generated so far in this process, from which the listener makes tokens/s;
        point: a row of the learning curve as it grows, the step first, with the columns that the stage's plot has;
        rollouts: a few of the latest completions, {"prompt", "completion", "reward", …} each;
        timings: what each step since the last call took, {"step", "seconds", "tokens_per_second", …} each, those of an
        earlier process included where one resumes. They differ from run to run: they belong in no artifact.
        """
