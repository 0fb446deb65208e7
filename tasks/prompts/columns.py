"""Rows of files as raw rows: by the columns that params.yaml names, or by a format of tasks/prompts/formats."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, model_validator

from tasks.prompts.formats import options
from tasks.prompts.formats.found import BadRow, convert, load
from tasks.prompts.readers import SourceError
from tasks.settings import Settings

MISSING = object()


class Columns(Settings):
    """Which column of a file holds what; dots reach into nested values (`messages.0.content`)."""

    text: str = Field(description="the question")
    gold: str | None = Field(None, description="the expected answer, or a text that holds it: see gold_pattern")
    options: str | list[str] | None = Field(
        None, description="of a choice: a column with a list or a mapping by letter, or one column for each option"
    )
    solution: str | None = Field(None, description="a reference response, used as it stands")
    language: str | None = Field(None, description='"en" or "zh" for each row; overrides the source\'s')
    id: str | None = Field(
        None, description="the row's name at its origin, kept in meta where its domain has no verifier"
    )


class MetaValue(Settings):
    """One entry of a prompt's `meta`: out of a column, or the same for all rows. Exactly one of the three."""

    column: str | None = Field(None, description="the value of this column as it stands")
    json_column: str | None = Field(None, description="the value that this column holds as JSON text")
    value: Any = Field(None, description="the same value for every row")

    @model_validator(mode="after")
    def _one(self):
        if len(given := self.model_fields_set) != 1:
            raise ValueError(f"give exactly one of column, json_column, value; found {sorted(given) or 'none'}")
        return self


@dataclass(frozen=True)
class RawRow:
    """A row as found. `problem` is (rule, evidence) where its columns already rule it out as a prompt."""

    text: str
    gold: str | None
    solution: str | None
    domain: str
    language: str
    origin: str
    meta: dict = field(default_factory=dict)
    problem: tuple[str, str] | None = None


def lookup(row, path: str):
    """The value at a dotted path, or MISSING; a column whose own name has dots is found first."""
    if isinstance(row, dict) and path in row:
        return row[path]
    value = row
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def reader_of(source) -> Callable[[str, dict], RawRow]:
    """How the rows of a source are read: `(origin, row) -> RawRow`."""
    by = _by_format if source.format else _by_columns
    return lambda origin, row: by(source, origin, row)


def require(source, origin: str, row: dict) -> None:
    """Raises SourceError where a column that the source names is not in this row, the first one of a file."""
    if source.format:
        wanted = [(name, f"format {source.format}") for name in load(source.format).COLUMNS]
    else:
        named = source.columns.model_dump()
        one_each = named.pop("options") or []
        wanted = [(c, f"columns.{k}") for k, c in named.items() if c is not None]
        wanted += [(c, "columns.options") for c in ([one_each] if isinstance(one_each, str) else one_each)]
        wanted += [
            (v.column or v.json_column, f"meta.{k}") for k, v in source.meta.items() if v.column or v.json_column
        ]
    for column, key in wanted:
        if lookup(row, column) is MISSING:
            raise SourceError(
                f"source {source.name}: {origin} has no column {column!r} ({key} in params.yaml); "
                f"there is: {', '.join(row)}"
            )


def _by_format(source, origin: str, row: dict) -> RawRow:
    domain = source.domain or load(source.format).DOMAIN
    try:
        found = convert(source.format, row)
    except BadRow as error:
        return RawRow("", None, None, domain, source.language, origin, {}, (f"format_{source.format}", str(error)))
    return RawRow(found.text, found.gold, found.solution, domain, source.language, origin, found.meta)


def _by_columns(source, origin: str, row: dict) -> RawRow:
    found, problem = _texts(source, row)
    meta = {}
    try:
        meta = {key: _meta_value(key, value, row) for key, value in source.meta.items()}
        if source.columns.options:
            found, meta["options"] = _choice(source.columns, row, found)
    except BadRow as error:
        problem = problem or ("meta" if source.meta else "options", str(error))
    language = found["language"] or source.language
    if language not in ("en", "zh"):
        problem = problem or ("language", f"language {language!r} is neither en nor zh")
    if found["id"] is not None:
        meta["id"] = found["id"]
    return RawRow(found["text"] or "", found["gold"], found["solution"], source.domain, language, origin, meta, problem)


def _texts(source, row: dict) -> tuple[dict, tuple[str, str] | None]:
    """The columns that hold text, and the first that does not."""
    found, problem = {}, None
    for key, column in source.columns.model_dump(exclude={"options"}).items():
        value = None if column is None else lookup(row, column)
        value = None if value is MISSING else value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if value is not None and not isinstance(value, str):
            problem = problem or (f"{key}_type", f"column {column!r} holds a {type(value).__name__}, not text")
            value = None
        found[key] = value
    if source.gold_pattern and found["gold"] is not None:
        if matches := list(re.finditer(source.gold_pattern, found["gold"], re.MULTILINE)):
            found["gold"] = matches[-1][1].strip()
        else:
            problem = problem or ("gold_pattern", f"no match of {source.gold_pattern} in {found['gold'][-60:]!r}")
    if source.drop_pattern and found["text"] is not None:
        found["text"] = re.sub(source.drop_pattern, "", found["text"])
    return found, problem


def _choice(columns: Columns, row: dict, found: dict) -> tuple[dict, dict[str, str]]:
    """The question with its options, the gold as a label, and the options by label; raises BadRow."""
    named = columns.options
    given = (
        lookup(row, named)
        if isinstance(named, str)
        else [None if (v := lookup(row, c)) is MISSING else v for c in named]
    )
    if given is MISSING:
        raise BadRow(f"there is no column {named!r}")
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise BadRow(f"column {named!r} holds text that is no JSON: {error}") from None
    labels = options.labelled(given)
    gold = lookup(row, columns.gold)
    gold = found["gold"] if isinstance(gold, str) else gold
    return found | {
        "text": options.question(found["text"] or "", labels),
        "gold": options.gold_label(gold, labels),
    }, labels


def _meta_value(key: str, value: MetaValue, row: dict):
    if (column := value.column or value.json_column) is None:
        return value.value
    found = lookup(row, column)
    if found is MISSING:
        raise BadRow(f"meta.{key}: there is no column {column!r}")
    if value.json_column is None:
        return found
    try:
        return json.loads(found)
    except (TypeError, ValueError) as error:
        raise BadRow(f"meta.{key}: column {column!r} holds no JSON text: {error}") from None
