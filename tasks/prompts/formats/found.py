"""What a row of a published format holds, once it is read; a format is one module of this folder.

A format module states `DOMAIN`, `COLUMNS` (top-level columns that every file of it has) and `convert(row) -> Found`,
a pure function; it raises BadRow for a row that is not of the format. `HEADER` names the columns of CSV files that
come without a header line; `PROCEDURAL` says that a program made the rows from a template. A set that is more than
files of rows has `records(files)`, which gives its (origin, row); one that also holds what models answered has
`outputs(row)` (tasks/sampling/imported.py). A format of your own is such a module and its name in `Format`.
"""

import importlib
import json
from dataclasses import dataclass, field
from types import ModuleType
from typing import Literal

Format = Literal[
    "alpaca", "bug_fixing", "humaneval", "ifeval", "knights_and_knaves", "leetcode", "lineage_bench", "livecodebench",
    "mbpp", "mbpp_plus", "mmlu", "reasoning_gym", "reasoning_gym_eval", "star1", "stdio", "stdio_cpp", "tora", "verl",
    "zebra", "zeroeval",
]  # fmt: skip


class BadRow(ValueError):
    """A row is not of its format; the message says where it departs."""


@dataclass(frozen=True)
class Found:
    """The fields of a PROMPT row that a format can fill; `meta` is what the domain's verifier reads."""

    text: str
    gold: str | None = None
    solution: str | None = None  # a reference response; a program stands in a fenced block
    meta: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """What a model answered; the fields that the record does not have are null."""

    text: str
    model: str | None = None
    finish: str | None = None  # stop, length
    tokens: int | None = None
    settings: dict = field(default_factory=dict)  # as recorded: temperature, seed …


def load(name: Format) -> ModuleType:
    """The module of a format."""
    return importlib.import_module(f"tasks.prompts.formats.{name}")


def convert(name: Format, row: dict) -> Found:
    """A row by its format; BadRow for whatever is wrong with it, however the format came upon it."""
    try:
        return load(name).convert(row)
    except BadRow:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise BadRow(f"no row of format {name}: {type(error).__name__}: {error}") from error


def parsed(value):
    """A nested value that some publications of a set store as JSON text."""
    return json.loads(value) if isinstance(value, str) else value


def text_of(row: dict, key: str) -> str:
    """A column that must hold text."""
    value = row[key]
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"{key} is {'empty' if value in (None, '') else f'a {type(value).__name__}, not text'}")
    return value
