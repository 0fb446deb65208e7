"""Sets of problems or training rows to compare: read from files, one text a row, fixed templates taken off.

A set is a file, a directory or a glob in any format of tasks/prompts/readers.py. Its column may reach into nested
values (`prompt.0.content`), name several columns (`instruction,input`, joined by a line break), or hold a list of chat
messages, of which the user's are taken.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks.prompts.readers import SourceError, find_files, read, shown

USUAL = ("text", "problem", "question", "prompt", "instruction", "quiz")  # looked for in this order
TEMPLATE_SHARE = 0.9  # of the rows: an opening or ending that so many share is a template, no content
TEMPLATE_CHARS = 20  # shorter common openings ("What is ") are language
TEMPLATE_LIMIT = 4000  # characters
TEMPLATE_ROWS = 20  # smaller sets say nothing about what is common


@dataclass(frozen=True)
class TextSet:
    """Texts with their origins; `opening` and `ending` are the template that was taken off, "" where there is none."""

    name: str
    column: str
    origins: Sequence[str]  # file:line or file#row
    texts: pa.Array  # large_string
    empty: int = 0  # rows without any text: they stay, and match nothing
    opening: str = ""
    ending: str = ""


def read_set(
    root: Path,
    pattern: str,
    column: str | None = None,
    limit: int | None = None,
    template: bool = True,
    progress: Callable[[str], None] | None = None,
    header: tuple[str, ...] | None = None,
) -> TextSet:
    """All rows of a path or glob relative to `root`, in the order of the files; raises SourceError.

    `column` None takes the first of USUAL that the first row has. `header` names the columns of CSV files without
    a header line. `template` takes off what nearly all rows share.
    """
    origins, texts, columns, first = [], [], Columns(column), {}
    for path in find_files(root, pattern):
        for origin, row in read(path, shown(root, path), header):
            first = first or row
            texts.append(columns.text(row, origin))
            origins.append(origin)
            if progress and len(texts) % 20_000 == 0:
                progress(f"{pattern}: {len(texts):,} rows")
            if len(texts) == limit:
                break
        if len(texts) == limit:
            break
    if not texts:
        raise SourceError(f"{pattern}: no rows; is it the right file?")
    columns.check(origins[0], first)
    opening, ending = common_template(texts) if template else ("", "")
    if opening or ending:
        texts = [without_template(text, opening, ending) for text in texts]
    empty = sum(not text.strip() for text in texts)
    return TextSet(pattern, columns.name, origins, _strings(texts, origins), empty, opening, ending)


def _strings(texts: list[str], origins: list[str]) -> pa.Array:
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        at = next(i for i, text in enumerate(texts) if any("\ud800" <= c <= "\udfff" for c in text))
        raise SourceError(f"{origins[at]}: half of a surrogate pair stands alone: no valid text; correct it") from None


class Columns:
    """The text of a row by its column or columns; remembers which of them any row had."""

    def __init__(self, name: str | None):
        self.name, self.seen = name, set()

    def text(self, row: dict, origin: str) -> str:
        """ "" where the row has none; raises SourceError where the value is no text."""
        if self.name is None:
            self.name = next((name for name in USUAL if row.get(name) is not None), None)
        if self.name is None:
            usual = ", ".join(USUAL)
            raise SourceError(f"{origin}: none of the usual columns ({usual}); name one of {', '.join(map(str, row))}")
        parts = []
        for name in self._parts(row):
            value = row[name] if name in row else _reach(row, name)
            if value is not MISSING:
                self.seen.add(name)
                parts.append(_as_text(value, name, origin))
        return "\n".join(part for part in parts if part)

    def _parts(self, row: dict) -> list[str]:
        """A name with a comma in it is a name first."""
        return [self.name] if self.name in row else [name.strip() for name in self.name.split(",")]

    def check(self, origin: str, row: dict) -> None:
        """Raises SourceError for a column that no row has; `origin` and `row` are the first row's, for the message."""
        if absent := [name for name in self._parts(row) if name not in self.seen]:
            has = ", ".join(map(str, row))
            raise SourceError(f"{origin}: neither this row nor any other has the column {absent[0]!r}; it has {has}")


MISSING = object()


def _reach(row: dict, column: str):
    value = row
    for key in column.split("."):
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


def _as_text(value, column: str, origin: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if (
        isinstance(value, list)
        and value
        and all(isinstance(m, dict) and isinstance(m.get("content"), str) for m in value)
    ):
        asked = [m["content"] for m in value if m.get("role", "user") == "user"]
        return "\n".join(asked)
    raise SourceError(
        f"{origin}: column {column!r} is a {type(value).__name__}, no text; reach into it with dots: prompt.0.content"
    )


def common_template(texts: Sequence[str]) -> tuple[str, str]:
    """(opening, ending) that nearly all distinct texts share word for word, each "" where there is none.

    Prompts of published sets carry fixed instructions ("Let's think step by step …"), which would hide equal problems.
    """
    texts = sorted({text for text in texts if text})
    if len(texts) < TEMPLATE_ROWS:
        return "", ""
    opening = _shared(texts, lambda text, k: text[:k])
    ending = _shared(texts, lambda text, k: text[-k:])
    while opening and not opening[-1].isspace():  # whole words only
        opening = opening[:-1]
    while ending and not ending[0].isspace():
        ending = ending[1:]
    return tuple(part if len(part.strip()) >= TEMPLATE_CHARS else "" for part in (opening, ending))


def _shared(texts: Sequence[str], end: Callable[[str, int], str]) -> str:
    """The longest start or end (`end(text, length)`) that TEMPLATE_SHARE of the texts have, not all of a text."""
    low, high, best = 0, TEMPLATE_LIMIT, ""
    while low < high:
        middle = (low + high + 1) // 2
        counts = Counter(end(text, middle) for text in texts if len(text) > middle)
        common, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
        if count >= TEMPLATE_SHARE * len(texts):
            low, best = middle, common
        else:
            high = middle - 1
    return best


def without_template(text: str, opening: str, ending: str) -> str:
    """`text` without the opening and ending, each where it has it, never more than the text."""
    text = text[len(opening) :] if opening and text.startswith(opening) else text
    return text[: -len(ending)] if ending and text.endswith(ending) else text
