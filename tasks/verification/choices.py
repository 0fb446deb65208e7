r"""Multiple choice (MMLU, GPQA and other STEM sets): which option a response settles on.

`meta` holds `{"options": {"A": "text", …}}`, the gold is a label. The final answer (answers.py) is read thus:

1. Dressing goes: `\text{}`, `\boxed{}`, dollar signs, asterisks, quotation marks, brackets around a label, a final full
   stop, and lead-ins such as `Answer:`, `the answer is`, `option`. Compatibility forms (`Ｂ`, `Ⓑ`) are the letters
   they stand for; letters of other alphabets that only look alike are not.
2. A label alone is that option, in either case. A label in the other case that is also, exactly, the text of another
   option is unparsable.
3. Text that equals the text of one option is that option; equality is exact first, then without regard to case. Text
   that equals two options is unparsable.
4. A label followed by text (`B. text`, `(B) text`, `B: text`) is that option, unless the text is that of another
   option, names another label, or takes it back (`not`, `wrong`, `or` …): then it is unparsable.
5. Everything else, above all two different choices, is unparsable.
"""

import json
import re
import unicodedata

from tasks.verification.answers import NoAnswer, boxed, final_answer, normalise
from tasks.verification.verdict import Decided, VerificationError

NAME = "choice"
LIBRARIES = ()
RUNS = "process"

_MACRO = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|emph|boldsymbol)\s*\{([^{}]*)\}")
_LEAD = re.compile(
    r"^(?:(?:the\s+|my\s+)?(?:final\s+|correct\s+|right\s+|best\s+)?(?:answer|option|choice)\b"
    r"(?:\s+(?:is|would\s+be)\b)?\s*[:=]?\s*)+",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"\b(?:not|no|nor|or|neither|either|wrong|incorrect|false|except|maybe|unless|instead|cannot|n['’]t)\b|n['’]t\b",
    re.IGNORECASE,
)
_DRESSING = "`*_ \t."
_QUOTED = re.compile(r"""(["'`])(?P<a>.*)\1|“(?P<b>.*)”|‘(?P<c>.*)’""", re.DOTALL)


class Unclear(Exception):
    """The answer settles on no single option; the message says why."""


def start(prompt: dict, text: str) -> tuple[str | None, Decided | None, dict | None]:
    """(extracted answer, decision, None): every choice is decided at once."""
    options, gold = _options(prompt)
    try:
        extracted = final_answer(text, multiline=True)  # a label on one line, its text on the next
    except NoAnswer as reason:
        return None, ("unparsable", "choice/extraction", str(reason)), None
    try:
        label, method = chosen(extracted, options)
    except Unclear as reason:
        return extracted, ("unparsable", "choice/reading", str(reason)), None
    return extracted, ("ok" if label == gold else "wrong", method, f"read as {label}"), None


def work(job: dict) -> Decided:
    """Never asked: `start` decides every row."""
    raise RuntimeError(f"choices need no worker, yet one was asked: {job}")


def gold_problem(prompt: dict) -> tuple[str | None, dict | None]:
    """What is wrong with a row's options or gold, or None."""
    try:
        options, gold = _options(prompt)
    except VerificationError as error:
        return str(error), None
    twins = [label for label, option in options.items() if label != gold and _plain(option) == _plain(options[gold])]
    return (f"options {gold} (the gold) and {twins[0]} have the same text" if twins else None), None


def chosen(answer: str, options: dict[str, str]) -> tuple[str, str]:
    """(label, how it was found); raises Unclear."""
    answer = _plain(answer)
    bare = _undressed(_LEAD.sub("", answer))
    if label := _label(bare, options):
        twins = [other for other, option in options.items() if other != label and _plain(option) == bare]
        if bare not in options and twins:
            raise Unclear(f"{bare!r} is label {label} and the text of {twins[0]}")
        return label, "choice/label"
    for candidate in dict.fromkeys((answer, bare)):
        if labels := _with_text(candidate, options):
            if len(labels) > 1:
                raise Unclear(f"it is the text of {' and '.join(labels)}")
            return labels[0], "choice/text"
    return _label_and_text(bare, options), "choice/label and text"


def _label(text: str, options: dict[str, str]) -> str | None:
    """The label that `text` is: `B`, `b`, `(B)`, `[B]`, `B)`, `{B}`, `B.`; an option's text in brackets is none."""
    match = re.fullmatch(r"[(\[{]*\s*([^()\[\]{}]+?)\s*[)\]}.:]*", text)
    word = _undressed(match[1]) if match else ""
    if word in options:
        return word
    return next((label for label in options if label.casefold() == word.casefold()), None)


def _with_text(text: str, options: dict[str, str]) -> list[str]:
    for form in (_plain, lambda t: _plain(t).casefold(), lambda t: normalise(_plain(t).casefold())):
        if labels := [label for label, option in options.items() if form(option) == form(text)]:
            return labels
    return []


def _label_and_text(text: str, options: dict[str, str]) -> str:
    labels = "|".join(re.escape(label) for label in sorted(options, key=len, reverse=True))
    closed, parted = rf"[(\[{{]\s*({labels})\s*[)\]}}][\s.:\-–—,]*", rf"({labels})\s*(?:[).:]|\s[-–—]\s)\s*"
    match = re.match(rf"(?:{closed}|{parted})(.+)", text, re.DOTALL)
    if not match:  # `B The cat`, `B (The cat)`: only with the very text
        match = re.match(rf"()({labels})\s+\(?(.+)", text, re.DOTALL)
        if not match or match[2] not in _with_text(match[3].removesuffix(")"), options):
            raise Unclear("it is neither a label nor the text of an option")
        return match[2]
    label, rest = match[1] or match[2], match[3].strip()
    named = _with_text(rest, options)
    if label in named:
        return label
    if named:
        raise Unclear(f"label {label} with the text of {named[0]}")
    others = "|".join(re.escape(other) for other in options if other != label)
    if other := re.search(rf"(?<![\w'’])(?:{others})(?![\w'’])", rest):
        raise Unclear(f"label {label}, then {other[0]}")
    if taken := _TAKEN_BACK.search(rest):
        raise Unclear(f"label {label}, then {taken[0]!r}")
    folded = _plain(rest).casefold()
    for other, option in options.items():
        if other != label and len(option) > 3 and _plain(option).casefold() in folded:
            raise Unclear(f"label {label}, then the text of {other}")
    return label


def _plain(text: str) -> str:
    """Text without its dressing; dollar signs and macros go, words, case and inner punctuation stay."""
    text = unicodedata.normalize("NFKC", text)
    if "\\" in text:
        if len(boxes := boxed(text)) == 1:
            text = boxes[0]
        text = _MACRO.sub(r"\1", _MACRO.sub(r"\1", text)).replace("\\(", "").replace("\\)", "")
    return _undressed(" ".join(text.replace("$", "").split()))


def _undressed(text: str) -> str:
    """Without emphasis, quotation marks around the whole, final full stops."""
    text = text.lstrip(_DRESSING.rstrip(".")).rstrip(_DRESSING)
    while match := _QUOTED.fullmatch(text):  # `6'` keeps its sign for feet
        text = (match["a"] or match["b"] or match["c"] or "").strip(_DRESSING)
    return text


def _options(prompt: dict) -> tuple[dict[str, str], str]:
    """(options, gold) of a row; raises VerificationError that names what is missing."""
    where = f"prompt {prompt.get('id')} of domain 'choice'"
    try:
        options = json.loads(prompt.get("meta") or "{}")["options"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise VerificationError(
            f'{where} has no options in meta: give {{"options": {{"A": "…", "B": "…"}}}}'
        ) from error
    if not (isinstance(options, dict) and len(options) > 1 and all(isinstance(t, str) and t for t in options.values())):
        raise VerificationError(f"{where}: meta.options must map two or more labels to their texts")
    if len({label.strip().casefold() for label in options} - {""}) < len(options):
        raise VerificationError(f"{where}: two labels of meta.options are the same but for their case, or one is empty")
    gold = (prompt.get("gold") or "").strip()
    if gold not in options:
        raise VerificationError(f"{where}: gold {gold!r} is none of the labels {', '.join(options)}")
    return options, gold
