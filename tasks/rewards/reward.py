"""What every reward is: a callable that TRL accepts as it stands, whose parameters are a block of params.yaml.

    from tasks.rewards.accuracy import accuracy
    GRPOTrainer(..., reward_funcs=[accuracy, Length(limit=4096)])

A reward of your own: one file with a subclass of Reward, and one line in registry.py.
"""

from collections.abc import Callable
from typing import ClassVar

from pydantic import Field, model_validator

from tasks.responses import TAGS
from tasks.settings import Settings

LogInfra = Callable[[int, str], None]  # (index of the completion, what failed): how a reward says "no verdict"


class Reward(Settings):
    """Called with lists (prompts, completions, one for each column of the dataset), it gives a number or None for each.

    None is no verdict: the reward does not apply to this prompt, or what it asks has failed. A number in params.yaml
    is short for `{weight: number}`.
    """

    name: ClassVar[str]  # in params.yaml, in logs, and what TRL calls it
    best: ClassVar[float | None] = 1.0  # full marks; None where there is no best value
    learned: ClassVar[bool] = False  # asks a model; canaries are for rules only

    weight: float = Field(1.0, allow_inf_nan=False, description="factor of this reward in the sum")
    only_with: list[str] = Field(
        [],
        description="other rewards of this stage; without full marks in each of them this one gives its lowest value",
    )
    prefilled: bool | None = Field(
        None,
        description="the template ends in `<think>`, which is then missing in completions; null: as the prompts say",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_number_is_its_weight(cls, value):
        return {"weight": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def lowest(self) -> float:
        """What it gives where a gate is shut."""
        return 0.0

    def texts(self, prompts: list, completions: list) -> list[str]:
        return [response(p, c, self.prefilled) for p, c in zip(prompts, completions, strict=True)]

    def __call__(self, prompts: list, completions: list, **columns) -> list[float | None]:
        raise NotImplementedError


def response(prompt, completion, prefilled: bool | None = None) -> str:
    """The whole response: text or TRL's list of messages, with the `<think>` that the prompt ended in put back."""
    text = completion if isinstance(completion, str) else _content(completion)
    if prefilled is None:
        prefilled = question(prompt).rstrip().endswith(TAGS[0])
    return TAGS[0] + text if prefilled else text


def question(prompt) -> str:
    """A prompt as text: TRL's list of messages gives its last one."""
    return prompt if isinstance(prompt, str) else _content(prompt)


def _content(messages: list[dict]) -> str:
    """The text of the last message; content in parts is joined."""
    content = messages[-1].get("content") if messages else None
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""


def column(values: list | None, count: int, default=None) -> list:
    """A column of the dataset, or `default` for each completion where the dataset has none."""
    return [default] * count if values is None else values
