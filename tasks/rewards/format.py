"""Format reward (paper 2.2.2): reasoning inside the think tags, then one answer inside the answer tags."""

import re
from typing import ClassVar, Literal

from pydantic import Field

from tasks.responses import TAGS, parse
from tasks.rewards.reward import Reward, column

OPEN_ENDED = ("code", "instructions")  # verified, but the answer is the summary itself: no answer tag is needed
NO_GOLD = (*OPEN_ENDED, "logic")  # domains in which a rule can decide without a gold
Outside = Literal["around_answer", "before_answer", "nothing"]
_INSIDE = re.compile(r"</think>(?P<before>.*)<answer>.*</answer>(?P<after>.*)$", re.DOTALL)


class Format(Reward):
    """1 for a well-formed response, else 0: each tag exactly once, in order, nothing before `<think>`.

    A general prompt needs no answer tag: there, a think block that opens and closes once, or no tag at all, is
    well-formed. Code and instructions need the think block and something after it. Columns: `domain`, `gold`; in a
    dataset without `gold` every prompt asks for an answer.
    """

    name: ClassVar[str] = "format"

    outside: Outside = Field(
        "around_answer",
        description="text allowed outside the tags: a summary around the answer, before it alone, or nothing but space",
    )

    def __call__(self, prompts, completions, *, domain=None, gold=None, **_) -> list[float | None]:
        texts = self.texts(prompts, completions)
        domains, golds = column(domain, len(texts)), column(gold, len(texts), "")
        return [float(is_valid(t, d, g, self.outside)) for t, d, g in zip(texts, domains, golds, strict=True)]


def verifiable(domain: str | None, gold: str | None) -> bool:
    """Whether a rule can say something about responses to such a prompt."""
    return gold is not None or domain in NO_GOLD


def is_valid(text: str, domain: str | None, gold: str | None, outside: Outside = "around_answer") -> bool:
    """Whether a response to a prompt of this domain has the form that is asked of it."""
    if domain in OPEN_ENDED:
        return (parse(text).well_formed and _outside(text, outside)) or think_format(text)
    if verifiable(domain, gold):
        return parse(text).well_formed and _outside(text, outside)
    return general_format(text)


def _outside(text: str, outside: Outside) -> bool:
    """Whether what stands around the answer of a well-formed response is allowed."""
    if outside == "around_answer":
        return True
    part = _INSIDE.search(text)
    return not part["after"].strip() and (outside == "before_answer" or not part["before"].strip())


def general_format(text: str) -> bool:
    """A response without any tag, or one think block followed by something."""
    if not any(tag in text for tag in TAGS):
        return bool(text.strip())
    return think_format(text)


def think_format(text: str) -> bool:
    """One think block at the start, then something without tags."""
    response = parse(text)
    clean = response.think is not None and not any(tag in response.think + response.summary for tag in TAGS)
    return clean and bool(response.summary.strip())


format = Format()
strict_format = Format(outside="nothing")
