"""Rewards by name: what `rewards:` of a stage in params.yaml may say.

A reward of your own is one file here, one import and one field below: params.yaml can then name it.
"""

from pydantic import Field, ValidationInfo, model_validator

from tasks.rewards.accuracy import Accuracy
from tasks.rewards.cosine import Cosine
from tasks.rewards.format import Format
from tasks.rewards.judge import Judge
from tasks.rewards.language import Language
from tasks.rewards.length import Length
from tasks.rewards.overlong import Overlong
from tasks.rewards.repetition import Repetition
from tasks.rewards.reward import Reward
from tasks.rewards.tag_count import TagCount
from tasks.settings import Settings


class Rewards(Settings):
    """The rewards of one stage, summed: `{accuracy: 1.0, length: {weight: 0.5, limit: 2048}}`."""

    accuracy: Accuracy | None = None
    format: Format | None = None
    language: Language | None = None
    tag_count: TagCount | None = None
    length: Length | None = None
    cosine: Cosine | None = None
    overlong: Overlong | None = None
    repetition: Repetition | None = None
    judge: Judge | None = None
    max_infra_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="the stage stops where more of the recent completions got no verdict through a fault of ours",
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_no_weight(cls, values, info: ValidationInfo):
        if isinstance(values, dict) and not (info.context and info.context.get("unpublished")):
            if nulls := [name for name, value in values.items() if value is None]:
                raise ValueError(
                    f"{nulls[0]} is null, which stands for `not published`: give a weight, or leave it out"
                )
        return values

    @model_validator(mode="after")
    def _consistent(self):
        terms = self.terms()
        if not terms and self.model_fields_set <= {"max_infra_share"}:
            raise ValueError(f"names no reward; known: {', '.join(KNOWN)}")
        if self.judge and not self.judge.endpoint:
            raise ValueError("judge.endpoint is missing: {url: …, model: …} of the served model that judges")
        for name, reward in terms.items():
            if stranger := next((other for other in reward.only_with if other not in terms or other == name), None):
                raise ValueError(f"{name}.only_with names {stranger!r}, which is no other reward of this stage")
        return self

    def terms(self) -> dict[str, Reward]:
        """name -> reward, in the order of the fields above: the sum does not depend on the order in a file."""
        return {name: reward for name in type(self).model_fields if isinstance(reward := getattr(self, name), Reward)}


KNOWN = {
    reward.name: reward
    for reward in (Accuracy, Format, Language, TagCount, Length, Cosine, Overlong, Repetition, Judge)
}


def load(name: str, **parameters) -> Reward:
    """The reward called `name` with these parameters; an unknown name raises ValueError."""
    if name not in KNOWN:
        raise ValueError(
            f"no reward {name!r}; known: {', '.join(KNOWN)}. Yours: a file in tasks/rewards/, imported in registry.py"
        )
    return KNOWN[name](**parameters)
