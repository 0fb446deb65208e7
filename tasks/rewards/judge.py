"""Judge reward: the verdict of a generative verifier (paper 2.3.3) as a number, where no rule can compare answers."""

from typing import ClassVar, Literal

from pydantic import Field, PrivateAttr

from tasks.rewards.format import is_valid
from tasks.rewards.reward import LogInfra, Reward, column, question
from tasks.verification.answers import NoAnswer, final_answer
from tasks.verification.endpoint import Endpoint, EndpointSettings
from tasks.verification.judge import Engine, judge_all


class Judge(Reward):
    """1 for a well-formed response whose final answer the judge accepts, else `wrong`; None without gold or verdict.

    It reads the prompt, the gold and the extracted answer, never the chain of thought, which could talk it round.
    Columns: `gold`, `domain`.
    """

    name: ClassVar[str] = "judge"
    learned: ClassVar[bool] = True

    endpoint: EndpointSettings | None = Field(None, description="the served model that judges")
    cache: str | None = Field(
        None, description="folder that keeps its replies, so that none is paid for twice; null: none"
    )
    domains: list[str] = Field([], description="domains it decides; none: every prompt that has a gold")
    wrong: Literal[0, -1] = Field(0, description="reward of everything it does not accept")
    _engine: Engine | None = PrivateAttr(None)

    @classmethod
    def asking(cls, engine: Engine, **parameters) -> "Judge":
        """The reward with an engine of the caller's: an open endpoint, or a LocalEngine in this process."""
        reward = cls(**parameters)
        reward._engine = engine
        return reward

    @property
    def lowest(self) -> float:
        return float(self.wrong)

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            if self.endpoint is None:
                raise ValueError("the judge reward asks a served model: give `endpoint: {url: …, model: …}`")
            self._engine = Endpoint(self.endpoint, self.cache)
        return self._engine

    def __call__(
        self, prompts, completions, *, gold=None, domain=None, log_infra: LogInfra | None = None, **_
    ) -> list[float | None]:
        if gold is None:
            raise ValueError("the judge reward needs a column `gold` in the dataset")
        texts = self.texts(prompts, completions)
        domains = column(domain, len(texts))
        mine = [i for i, g in enumerate(gold) if g is not None and (not self.domains or domains[i] in self.domains)]
        items = [(question(prompts[i]), gold[i], _prediction(texts[i])) for i in mine]
        rewards: list[float | None] = [None] * len(texts)
        for i, verdict in zip(mine, judge_all(items, self.engine), strict=True):
            if verdict.status != "infra":
                right = verdict.ok and is_valid(texts[i], domains[i], gold[i])
                rewards[i] = 1.0 if right else self.lowest
            elif log_infra:
                log_infra(i, f"{verdict.method}: {verdict.detail}")
        return rewards


def _prediction(text: str) -> str | None:
    try:
        return final_answer(text, multiline=True)
    except NoAnswer:
        return None


judge = Judge()  # asks nobody before it has an endpoint: `Judge(endpoint=…)`, or `Judge.asking(engine)`
