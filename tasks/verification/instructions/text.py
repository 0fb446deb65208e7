r"""How a response is measured: relations, words, sentences, paragraphs, languages. Every rule is linear in the text.

Words are runs of letters, digits and underscores, as IFEval counts them.

Sentences (IFEval asks nltk's punkt; ours is a rule one can read): a sentence ends at a run of `.`, `!`, `?` or `…`,
with any closing quotation marks and brackets behind it, before white space that no lower-case letter follows, or at
the end of the text; and at `。`, `！`, `？`, `।`, `۔`, `؟` in any case. No sentence ends at a full stop after
- an abbreviation (`Mr.`, `e.g.`, `vs.` …), a single capital letter (`J. Smith`), or letters with full stops (`U.S.`),
- a number that opens a line (`1.`), which is a list's marker.
A line break ends no sentence, and what holds no letter or digit is none.
"""

import re
from typing import Literal

Relation = Literal["less than", "at least"]

_WORD = re.compile(r"\w+")
_STOP = re.compile(r"[.!?…]+[\"'”’)\]»*_]*(?=\s|$)|[。！？।۔؟]+[”’」』）]*")
_LOWER_NEXT = re.compile(r"\s+[\"'“‘(\[*_]{0,4}[^\W\d_A-Z]")
_MARKER = re.compile(r"(?:^|\n)[ \t]*[*_#>-]*[ \t]*\d+$")
_ABBREVIATION = re.compile(
    r"(?:^|[^\w.])(?:mr|mrs|ms|dr|prof|rev|hon|gen|col|capt|lt|sgt|sr|jr|st|mt|vs|etc"
    r"|e\.g|i\.e|cf|et al|fig|eq|vol|ch|pp|inc|ltd|co|corp|dept|univ|approx|jan|feb|mar|apr|jun|jul"
    r"|aug|sept|sep|oct|nov|dec|a\.m|p\.m)$",
    re.IGNORECASE,
)
_INITIAL = re.compile(r"(?:^|[^\w.])(?:[A-Z]|(?:[A-Za-z]\.)+[A-Za-z])$")


def misses(found: int, relation: Relation, wanted: int, what: str) -> str | None:
    """None where `found` stands in the relation to `wanted`, else the reason."""
    if (found < wanted) if relation == "less than" else (found >= wanted):
        return None
    return f"{found} {what}, not {relation} {wanted}"


def words(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


def sentences(text: str) -> list[str]:
    out, start, end = [], 0, len(text.rstrip())
    for stop in _STOP.finditer(text):
        if stop[0][0] in ".!?…" and stop.end() < end:
            before = text[max(start, stop.start() - 20) : stop.start()]
            single = stop[0][0] == "." and not stop[0].startswith("..")
            if single and any(rule.search(before) for rule in (_ABBREVIATION, _INITIAL, _MARKER)):
                continue
            if (following := _LOWER_NEXT.match(text, stop.end())) and following[0][-1].islower():
                continue
        out.append(text[start : stop.end()].strip())
        start = stop.end()
    out.append(text[start:].strip())
    return [sentence for sentence in out if _WORD.search(sentence)]


def paragraphs(text: str) -> list[str]:
    """Blocks parted by empty lines."""
    return [block.strip() for block in re.split(r"\n[ \t]*\n", text) if block.strip()]


def language(text: str) -> str | None:
    """The language of a text by langdetect, always with the same seed; None where it sees no letters.

    The text is put into lower case first: langdetect takes English in capitals for German and others.
    """
    from langdetect import DetectorFactory, LangDetectException, detect

    DetectorFactory.seed = 0
    try:
        return detect(text.lower())
    except LangDetectException:
        return None
