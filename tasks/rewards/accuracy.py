"""Accuracy reward (paper 2.2.2): a rule decides whether the final answer is right."""

from typing import ClassVar, Literal

from pydantic import Field

from tasks.rewards.format import is_valid, verifiable
from tasks.rewards.reward import LogInfra, Reward, column
from tasks.verification.verify import verify_all


class Accuracy(Reward):
    """1 for a well-formed response whose verdict is ok, else `wrong`; None where there is no verdict.

    No verdict: the prompt has nothing to verify (a general prompt), or the verifier itself failed ("infra").
    Columns: `domain` (maths where there is none), `gold`, `meta`; see tasks/verification.
    """

    name: ClassVar[str] = "accuracy"

    wrong: Literal[0, -1] = Field(0, description="reward of everything that is not right; survey: 1/0 or 1/-1")
    domains: list[str] = Field([], description="domains it decides; none: every prompt with something to verify")
    well_formed: bool = Field(True, description="only a well-formed response is right; false: the answer alone decides")

    @property
    def lowest(self) -> float:
        return float(self.wrong)

    def __call__(
        self, prompts, completions, *, domain=None, gold=None, meta=None, log_infra: LogInfra | None = None, **_
    ) -> list[float | None]:
        if gold is None and meta is None:
            raise ValueError("the accuracy reward needs a column `gold` or `meta` in the dataset, and has neither")
        texts = self.texts(prompts, completions)
        domains, golds, metas = column(domain, len(texts), "maths"), column(gold, len(texts)), column(meta, len(texts))
        rows = [{"domain": d, "gold": g, "meta": m} for d, g, m in zip(domains, golds, metas, strict=True)]
        mine = [not self.domains or row["domain"] in self.domains for row in rows]
        asked = [i for i, row in enumerate(rows) if mine[i] and verifiable(row["domain"], row["gold"])]
        rewards: list[float | None] = [None] * len(texts)
        for i, verdict in zip(asked, verify_all([rows[i] for i in asked], [texts[i] for i in asked]), strict=True):
            if verdict.status == "infra":
                if log_infra:
                    log_infra(i, f"{verdict.method}: {verdict.detail}")
                continue
            right = verdict.ok and (not self.well_formed or is_valid(texts[i], rows[i]["domain"], rows[i]["gold"]))
            rewards[i] = 1.0 if right else self.lowest
        return rewards


accuracy = Accuracy()
signed_accuracy = Accuracy(wrong=-1)
