"""The R1-style response: what is the chain of thought, what the summary, what the answer, in which language.

A response is `<think> reasoning </think> summary`, the final answer inside `<answer>…</answer>` in the summary.
"""

import functools
import re
from dataclasses import dataclass

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_NO_TAG = r"(?:(?!</?think>|</?answer>).)*"
_WELL_FORMED = re.compile(rf"^\s*<think>({_NO_TAG})</think>({_NO_TAG}<answer>{_NO_TAG}</answer>{_NO_TAG})$", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
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


# Script -> its letters and signs by code point, as the inside of a regular expression's brackets.
SCRIPTS = {
    "Latin": "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u1e00-\u1eff\u2c60-\u2c7f\ua722-\ua787"
    "\ua78b-\ua7ff\uab30-\uab5a\ufb00-\ufb06\uff21-\uff3a\uff41-\uff5a",
    "Han": "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af",
    "Kana": "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d",
    "Hangul": "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7fb",
    "Cyrillic": "\u0400-\u0481\u0483-\u052f\u1c80-\u1c88\u2de0-\u2dff\ua640-\ua69f",
    "Greek": "\u0370-\u0373\u0376-\u037d\u037f\u0386\u0388-\u03ff\u1f00-\u1fff",
    "Arabic": "\u0610-\u061a\u0620-\u065f\u066e-\u06d3\u06d5-\u06dc\u06df-\u06ef\u06fa-\u06ff\u0750-\u077f\u0870-\u08ff"
    "\ufb50-\ufdff\ufe70-\ufefc",
    "Hebrew": "\u0591-\u05c7\u05d0-\u05f2\ufb1d-\ufb4f",
    "Devanagari": "\u0900-\u0963\u0970-\u097f\ua8e0-\ua8ff",
    "Bengali": "\u0980-\u09e5\u09f0-\u09fe",
    "Gurmukhi": "\u0a01-\u0a65\u0a70-\u0a76",
    "Gujarati": "\u0a81-\u0ae5\u0af0-\u0aff",
    "Tamil": "\u0b82-\u0be5",
    "Telugu": "\u0c00-\u0c65\u0c77-\u0c7f",
    "Kannada": "\u0c80-\u0ce5\u0cf0-\u0cff",
    "Malayalam": "\u0d00-\u0d65\u0d70-\u0d7f",
    "Sinhala": "\u0d80-\u0de5\u0df0-\u0df4",
    "Thai": "\u0e01-\u0e3a\u0e40-\u0e4e",
    "Lao": "\u0e80-\u0ecd\u0edc-\u0edf",
    "Myanmar": "\u1000-\u103f\u104c-\u108f\ua9e0-\ua9ef\uaa60-\uaa7f",
    "Khmer": "\u1780-\u17d3\u17dc-\u17dd",
    "Georgian": "\u10a0-\u10fa\u10fc-\u10ff\u1c90-\u1cbf\u2d00-\u2d2d",
    "Armenian": "\u0531-\u0556\u0559-\u0588",
    "Ethiopic": "\u1200-\u135f\u1380-\u139f\u2d80-\u2dde",
}
# Scripts written without spaces between words: about so many characters make a word.
CHARS_PER_WORD = {"Han": 2.0, "Kana": 3.0, "Thai": 4.0, "Lao": 4.0, "Myanmar": 5.0, "Khmer": 5.0}
_BY_SCRIPT = {  # ISO 639-1 codes of the languages written in each script
    "Latin": "af az ca cs cy da de en es et eu fi fil fr ga gl ha hr hu id is it lt lv ms mt nl no pl pt ro sk sl so sq"
    " sv sw tl tr uz vi yo zu",
    "Cyrillic": "be bg kk ky mk mn ru sr tg uk", "Greek": "el", "Arabic": "ar fa ps sd ug ur", "Hebrew": "he yi",
    "Devanagari": "hi mr ne sa", "Bengali": "as bn", "Gurmukhi": "pa", "Gujarati": "gu", "Tamil": "ta", "Telugu": "te",
    "Kannada": "kn", "Malayalam": "ml", "Sinhala": "si", "Thai": "th", "Lao": "lo", "Myanmar": "my", "Khmer": "km",
    "Georgian": "ka", "Armenian": "hy", "Ethiopic": "am ti", "Han": "zh", "Hangul": "ko",
}  # fmt: skip
LANGUAGES = {code: (script,) for script, codes in _BY_SCRIPT.items() for code in codes.split()} | {
    "ja": ("Kana", "Han")
}

_NOT_LANGUAGE = re.compile(  # what is code or maths: no words are counted in it
    r"```.*?(?:```|\Z)"
    r"|``?[^`\n]{1,500}``?"
    r"|\$\$[^$]{1,3000}\$\$|\$(?=\S)[^$\n]{1,500}(?<=\S)\$(?!\d)"
    r"|\\\((?:(?!\\\().){0,3000}?\\\)|\\\[(?:(?!\\\[).){0,3000}?\\\]"  # an opening inside starts over
    r"|\\begin\{(\w{1,20})\*?\}(?:(?!\\begin).){0,3000}?\\end\{\1\*?\}"
    r"|\\[A-Za-z]+(?:\{[^{}\n]{0,300}\})*"
    r"|\bhttps?://\S+",
    re.DOTALL,
)
_ACCENTS = re.compile("[\u0300-\u036f\u200c\u200d]")  # combining accents and joiners belong to the letter before them
_LABEL = re.compile(r"\b[A-H][+\-*/]\d+")  # labelled operands of the running sums (tasks/prompts/running_sums.py)
_VARIABLE = re.compile(  # one small letter as prose writes maths: `x = 3`, `2y`, `n^2`, `f(x)`; `a` is a word
    r"(?<![A-Za-z'’])[b-z](?=\s[=+*/<>≤≥×÷≈-]\s|[\^_(²³])|(?:\s[=+*/<>≤≥×÷≈-]\s|[\d(^_])[b-z](?![A-Za-z'’])"
)


@functools.cache
def _words() -> re.Pattern:
    """One group for each script, a run of its letters; the last group takes letters of any other script."""
    runs = [
        rf"(?P<{name}>[{letters}]+)" if name in CHARS_PER_WORD else rf"(?P<{name}>[{letters}]+(?:['’][{letters}]+)*)"
        for name, letters in SCRIPTS.items()
    ]
    not_ascii_signs = r"(?![\x00-@\[-`{-\x7f])"  # most positions that start no word are settled here
    return re.compile(not_ascii_signs + "(?:" + "|".join([*runs, r"(?P<Other>[^\W\d_]+)"]) + ")")


def script_words(text: str) -> dict[str, float]:
    """Words of `text` by script, counted by code point; maths, code, addresses and numbers are no words.

    In a script without spaces a word is about CHARS_PER_WORD characters.
    """
    if any(sign in text for sign in ("`", "$", "\\", "://")):
        text = _NOT_LANGUAGE.sub(" ", text)
    if not text.isascii():
        text = _ACCENTS.sub("", text)
    counts: dict[str, float] = {}
    for match in _words().finditer(_LABEL.sub(" ", _VARIABLE.sub(" ", text))):
        script = match.lastgroup
        size = len(match[0]) / CHARS_PER_WORD[script] if script in CHARS_PER_WORD else 1
        counts[script] = counts.get(script, 0) + size
    return counts


def scripts_of(language: str) -> tuple[str, ...]:
    """Scripts of a language by its tag (`en`, `zh-CN`); ValueError where it is not in the table."""
    code = re.split("[-_]", language.lower())[0]
    if code not in LANGUAGES:
        raise ValueError(f"no script is known for language {language!r}: add it to LANGUAGES in tasks/responses.py")
    return LANGUAGES[code]


def language_share(text: str, language: str = "en") -> float | None:
    """Share of words in the target language's script among all words of `text` (paper 2.3.2); None without words.

    Scripts tell Chinese from English, not English from French: of two languages in one script both count.
    """
    wanted = scripts_of(language)
    counts = script_words(text)
    total = sum(counts.values())
    return sum(counts.get(script, 0) for script in wanted) / total if total else None


def reasoning_language_share(text: str, language: str = "en") -> float | None:
    """`language_share` of the chain of thought alone; None where there is none."""
    think = parse(text).think
    return None if think is None else language_share(think, language)
