r"""The question said again is no answer: `30 + 42` to `What is 30 + 42?`.

Such an answer has the gold's value, so nothing but the prompt can tell. Refused is only what the prompt asks for in so
many words: the expression right behind a verb that asks, or the whole prompt. Other values that a prompt mentions may
be the answer (a probability of `\frac{1}{2}` to a question about a fair coin).
"""

import functools
import re

from tasks.verification.maths_normalise import normalise

MAX_PROMPT_CHARS = 4000  # a question is at the start or the end of a longer prompt; neither is looked for
_ASKED = re.compile(
    r"\b(?:what(?:'s| is| are)|compute|evaluate|calculate|simplify|solve|find|determine|express|write|rewrite|convert|"
    r"factori[sz]e|factor|expand|reduce|rationali[sz]e|work out)\b[^.$\\?!\d]{0,60}?"
    r"(?P<maths>\$\$[^$]{1,500}\$\$|\$[^$]{1,500}\$|\\\(.{1,500}?\\\)|\\\[.{1,500}?\\\]|"
    r"[-(]*\d[\d\s().,+*/^×÷·%-]{0,200})"
    r"(?=\s*(?:[?.!:;,=]|$|(?:as|to|into|in|by|expressed|written|rounded|when|if|completely|fully|and)\b))",
    re.IGNORECASE | re.DOTALL,
)


def copied(prompt: str | None, answer: str) -> bool:
    """Whether an answer is the expression that the prompt asks about, or the prompt itself."""
    return bool(prompt) and len(prompt) <= MAX_PROMPT_CHARS and _statement(answer) in _questions(prompt)


def _statement(text: str) -> str:
    """The normal form without the signs that make it a question or a sentence."""
    return normalise(text.rstrip("=? .,"))


@functools.lru_cache(maxsize=4096)
def _questions(prompt: str) -> frozenset[str]:
    asked = [match["maths"].strip("$ \n\t.,").rstrip("=? ") for match in _ASKED.finditer(prompt)]
    asked = [text[2:-2] if text[:2] in (r"\(", r"\[") else text for text in asked]
    return frozenset(map(_statement, [*asked, prompt])) - {""}
