"""Judge reward: the verdict of a generative verifier (paper 2.3.3) as a number, where no rule can compare answers."""

from typing import ClassVar, Literal

from pydantic import Field, PrivateAttr

from tasks.rewards.reward import LogInfra, Reward, column
from tasks.verification.endpoint import EndpointSettings


class Judge(Reward):
    """1 where the judge accepts the final answer, else `wrong`; None on prompts without a gold, or where it fails.

    It reads the prompt, the gold and the extracted answer, never the chain of thought, which could talk it round.
    """

    name: ClassVar[str] = "judge"
    learned: ClassVar[bool] = True

    endpoint: EndpointSettings | None = Field(None, description="the served model that judges")
    domains: list[str] = Field([], description="domains it decides; none: every prompt that has a gold")
    wrong: Literal[0, -1] = Field(0, description="reward of what it does not accept")

    @property
    def lowest(self) -> float:
        return float(self.wrong)


judge = Judge()
