"""The R1-style response: what is the chain of thought, what the summary, what the answer, in which language.

A response is `<think> reasoning </think> summary`, the final answer inside `<answer>…</answer>` in the summary.
"""

import re
from dataclasses import dataclass

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_NO_TAG = r"(?:(?!</?think>|</?answer>).)*"
_WELL_FORMED = re.compile(rf"^\s*<think>({_NO_TAG})</think>({_NO_TAG}<answer>{_NO_TAG}</answer>{_NO_TAG})$", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_ENGLISH = re.compile(r"[A-Za-z]+")
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
CHINESE_CHARS_PER_WORD = 2.0
# Explicit re-checking in a chain of thought: the paper counts "wait" (the "aha moment").
RECHECK = re.compile(
    r"\b(?:re-?check|double-?check|check(?:ing)?|verify(?:ing)?|wait|hold on|let me see again)\b|检查|验证|核对|等等|再算",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Response:
    think: str | None  # inside the think tags; None where there is no closed think block at the start
    summary: str  # everything after </think>, or the whole text where there is none
    answer: str | None  # inside the one answer tag; None where there is none or more than one
    well_formed: bool  # exactly one think block, then exactly one answer


def parse(text: str) -> Response:
    """Split a response; never raises, whatever a model wrote."""
    well_formed = _WELL_FORMED.match(text) is not None
    head, closed, rest = text.partition("</think>")
    opened = head.lstrip().startswith("<think>")
    think = head.lstrip()[len("<think>") :] if closed and opened else None
    summary = rest if closed else text
    answers = _ANSWER.findall(summary)
    return Response(think, summary, answers[0].strip() if len(answers) == 1 else None, well_formed)


def language_share(text: str, language: str = "en") -> float | None:
    """Share of target-language words among the English and Chinese words of `text` (paper 2.3.2); None without words.

    Two Chinese characters count as one word. Digits, operators and single-letter labels glued to them
    (`A-1`) are no words.
    """
    english = sum(1 for w in _ENGLISH.findall(re.sub(r"\b[A-H][+\-*/]\d+", " ", text)))
    chinese = len(_CHINESE.findall(text)) / CHINESE_CHARS_PER_WORD
    if english + chinese == 0:
        return None
    return (english if language == "en" else chinese) / (english + chinese)


def reasoning_language_share(text: str, language: str = "en") -> float | None:
    """`language_share` of the chain of thought alone; None where there is none."""
    think = parse(text).think
    return None if think is None else language_share(think, language)
