r"""Answers that are words: names, yes and no, months, days, dates, times of day, number words, choices.

Each has one canonical form; `text` returns it, or None where the answer holds maths. No library.
"""

import re
from fractions import Fraction

_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|textsc|mbox|mathrm|mathbf|mathit|operatorname)\s*\{([^{}]*)\}"
)
_LEAD = re.compile(
    r"^(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+|correct\s+)?(?:answer|result|solution)\s*(?:is|:|=)\s*:?\s*",
    re.IGNORECASE,
)
_OPTION = re.compile(r"^(?:option|choice)\s*(?=\(?[A-Z]\)?$)", re.IGNORECASE)
_SEGMENT = re.compile(r"\\(?:overline|overrightarrow|overleftrightarrow)\s*\{([A-Z]{2})\}")
_WORDS = re.compile(r"[^\W\d_]+(?:[ '\-/][^\W\d_]+)*")
_ARTICLE = re.compile(r"^(?:the|a|an)\s+(?=\w)")
_MONTHS = "january february march april may june july august september october november december".split()
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_SHORT = (
    {m[:3]: m for m in _MONTHS}
    | {d[:3]: d for d in _DAYS}
    | {"sept": "september", "tues": "tuesday", "thurs": "thursday"}
)
_NOTHING = re.compile(
    r"(?:there (?:is|are) )?no (?:real |such |integer )?(?:solutions?|values?|numbers?|roots?)(?: exists?)?|none|"
    r"(?:the )?empty set|no real solutions?|does not exist|dne"
)
_ALL = re.compile(r"(?:all|any|every) (?:real (?:numbers?|values?)|reals?)")
_CLOCK = re.compile(
    r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*(?:\(?\s*([ap])\.?\s*m\.?\s*\)?|o'?clock)?\.?", re.IGNORECASE
)
_MONTH = "|".join([*_MONTHS, *sorted(_SHORT, key=len, reverse=True)])
_DATE = (
    re.compile(rf"(?P<m>{_MONTH})\.? (?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<y>\d{{4}}))?", re.IGNORECASE),
    re.compile(
        rf"(?:the )?(?P<d>\d{{1,2}})(?:st|nd|rd|th)? (?:of )?(?P<m>{_MONTH})\.?(?:,? (?P<y>\d{{4}}))?", re.IGNORECASE
    ),
    re.compile(r"(?P<y>\d{4})[-/](?P<m>\d{1,2})[-/](?P<d>\d{1,2})"),
)
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10)))
_SCALES = {"trillion": 10**12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12}
_ANOTHER = re.compile(  # behind an option's letter: another answer, or a doubt
    r"\b(?:or|and)\b|\(?\b[A-Z]\b\s*[).:]|^[,;&/|+]|\b(?:not|maybe|perhaps|probably|possibly|either)\b"
)
_SCALED = re.compile(
    r"(\d[\d,]*(?:\.\d+)?)\s*(?:\\text\s*\{\s*)?(hundred|thousand|million|billion|trillion|dozen)\b(?:\s*\})?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?![\w.]*\d)")
_COMPARES = re.compile(
    r"\b(?:not|no|never|n't|or|either|neither|nor|than|between|least|most|over|under|above|below|about|around|roughly|"
    r"approximately|almost|nearly|except|without|unless|maybe|perhaps|possibly|if|any|wrong|incorrect|half|twice|double|"
    r"thousand|million|hundred|dozen|times|squared|cubed|root|minus|negative|plus|percent)\b|n't",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"\(?([A-Za-z])\s*[).:]\s*(.+)")
_ORDINAL = re.compile(r"(\d+)\s*\^?\{?\s*(?:\\text\s*\{\s*)?(?:st|nd|rd|th)\s*\}*")
NON_ANSWERS = frozenset(
    "proof prove notfound not-found n/a na nan null nil none_ unknown error tbd todo ? ?? - -- ... undefined_ solution "
    "see-solution omitted no-answer noanswer unanswered answer-not-found".split()
)


def plain(answer: str) -> str:
    """An answer without text commands, Markdown emphasis, quotes and `The answer is`; maths inside stays."""
    answer = answer.strip()
    while (bare := _WRAPPED.sub(r"\1", answer)) != answer:
        answer = bare
    answer = _SEGMENT.sub(r"\1", strip_lead(answer).replace("~", " ").replace("$", "").replace(r"\ ", " ").strip())
    return _OPTION.sub("", " ".join(answer.split()).strip("\"'`. ,"))


def strip_lead(answer: str) -> str:
    """An answer without the sentence in front of it (`The final answer is`)."""
    answer = answer.strip()
    if answer.startswith("**") and answer.endswith("**"):
        answer = answer.strip("* ")
    return _LEAD.sub("", answer)


def words(answer: str) -> str | None:
    r"""Canonical words of a textual answer (`\text{(B)}`, `Tuesday`, `Tues.`), or None where there is maths in it."""
    bare = plain(answer).strip("() ")
    if not bare or not _WORDS.fullmatch(bare) or "\\" in bare:
        return None
    bare = _ARTICLE.sub("", bare.casefold())
    return _SHORT.get(bare, bare)


def nothing(answer: str) -> bool:
    """No solution, the empty set, none, in any of their spellings."""
    return bool(_NOTHING.fullmatch(plain(answer).casefold())) or answer.replace(" ", "") in (
        r"\emptyset",
        r"\varnothing",
        r"\{\}",
    )


def everything(answer: str) -> bool:
    """All real numbers, in any of their spellings."""
    bare = re.split(r"\\in(?![a-z])", answer.replace(" ", "").replace("mathbb{R}", "mathbbR"))[-1]
    return bool(_ALL.fullmatch(plain(answer).casefold())) or bare in (
        r"\mathbbR",
        r"(-\infty,\infty)",
        r"(-\infty,+\infty)",
    )


def clock(answer: str) -> tuple[int, int, int, str] | None:
    """(hour, minute, second, "a" | "p" | "") of a time of day, or None; `3:2` and `7` are none."""
    bare = plain(answer).replace("\\!", "").replace(" :", ":").replace(": ", ":")
    if bare.casefold() in ("noon", "12 noon", "midnight", "12 midnight"):
        return (12, 0, 0, "p" if "noon" in bare.casefold() else "a")
    match = _CLOCK.fullmatch(bare)
    if not match or not (match[2] or match[4] or "clock" in bare.casefold()):
        return None
    hour, minute, second = (int(x or 0) for x in match.groups()[:3])
    return (hour, minute, second, (match[4] or "").lower()) if hour < 25 and minute < 60 and second < 60 else None


def same_time(gold: tuple, answer: tuple) -> bool:
    """Times agree on the clock; a half of the day that one of them leaves out is taken as meant."""
    if gold[3] and answer[3]:
        return gold == answer
    return gold[:3] == answer[:3] or _day(gold) == _day(answer)


def _day(time: tuple) -> tuple:
    hour, minute, second, half = time
    return ((hour % 12 + 12 * (half == "p")) if half else hour, minute, second)


def date(answer: str) -> tuple[int | None, int, int] | None:
    """(year or None, month, day) of a date with its month in words or in ISO order, or None."""
    bare = plain(answer)
    for pattern in _DATE:
        if match := pattern.fullmatch(bare):
            month = match["m"].casefold()
            number = int(month) if month.isdigit() else _MONTHS.index(_SHORT.get(month, month)) + 1
            return (int(match["y"]) if match["y"] else None, number, int(match["d"]))
    return None


def same_date(gold: tuple, answer: tuple) -> bool:
    return gold[1:] == answer[1:] and (gold[0] is None or gold[0] == answer[0])


def number_word(answer: str) -> str | None:
    """Digits for number words (`four`, `twenty-one`, `two hundred and five`), ordinals (`11th`) and scales (`3 million`)."""
    bare = _ARTICLE.sub("", plain(answer).casefold())
    if not re.search("[a-z]", bare):
        return None
    if match := _ORDINAL.fullmatch(bare) or _ORDINAL.fullmatch(answer.strip()):
        return match[1]
    total, part, seen = 0, 0, False
    sign = "-" if re.match(r"(?:minus|negative) ", bare) else ""
    for token in re.sub(r"^(?:minus|negative) ", "", bare).replace("-", " ").replace(" and ", " ").split():
        if token in _ONES:
            part += _ONES.index(token)
        elif token in _TENS:
            part += _TENS[token]
        elif token in _SCALES and (seen or token != "hundred"):
            scale = _SCALES[token]
            part = max(part, 1 if not seen else part) * scale
            if scale >= 1000:
                total, part = total + part, 0
        elif not seen and re.fullmatch(r"\d{1,6}", token):
            part = int(token)
        else:
            return None
        seen = True
    if not seen or bare.isdigit():
        return None
    return f"{sign}{total + part}"


def only_number(answer: str) -> str | None:
    """The one number of a plain sentence (`The friends found 30 eggs.`), or None: also where it hedges or compares."""
    bare = plain(answer)
    if "\\" in bare or len(re.findall(r"[^\W\d_]{2,}", bare)) < 3 or _COMPARES.search(bare):
        return None
    numbers = _NUMBER.findall(bare)
    return numbers[0] if len(numbers) == 1 and not re.search(r"[=<>+*/^]", bare) else None


def scaled(answer: str) -> str:
    """`1.5 million` as digits, wherever it stands in the answer."""
    return _SCALED.sub(lambda m: _digits(Fraction(m[1].replace(",", "")) * _SCALES[m[2].lower()]), answer)


def _digits(number: Fraction) -> str:
    return str(number) if number.denominator == 1 else rf"\frac{{{number.numerator}}}{{{number.denominator}}}"


def choice(answer: str) -> tuple[str, str] | None:
    """(letter, rest) of a choice that repeats its option, such as `(A) 0` or `C. 12`."""
    match = _CHOICE.fullmatch(plain(answer))
    if match and _ANOTHER.search(match[2]):  # `A) or B)`
        return None
    return (match[1].upper(), match[2].strip()) if match else None


def non_answer(gold: str) -> bool:
    """Placeholders that data sets put where there is no answer: `proof`, `notfound`, `N/A`, `nan` …"""
    return "-".join(plain(gold).casefold().split()) in NON_ANSWERS
