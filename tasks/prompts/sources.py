"""Where prompts come from: the entries of `prompts.sources` in params.yaml, and the raw rows they give.

An entry says its kind by which of `path`, `hub`, `gym` and `family` it has. A raw row is what was found, with its
origin; whether it becomes a prompt is decided, and written down, in bank.py.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from tasks.prompts.readers import SourceError, find_files, read, read_hub, shown
from tasks.provenance.artifacts import sha256
from tasks.rows import derive_seed
from tasks.settings import Settings

Domain = Literal["maths", "logic", "code", "stem", "writing", "qa", "self", "translation", "greeting", "safety"]
VERIFIED = ("maths", "logic", "choice", "quantity")  # domains whose verifier needs a gold


class Columns(Settings):
    """Which column of a file holds what; dots reach into nested values (`messages.0.content`)."""

    text: str = Field(description="the question")
    gold: str | None = Field(None, description="the expected answer, or a text that holds it: see gold_pattern")
    solution: str | None = Field(None, description="a reference response, used as it stands")
    language: str | None = Field(None, description='"en" or "zh" for each row; overrides the source\'s')
    id: str | None = Field(None, description="the row's name at its origin, kept in meta")


class Source(Settings):
    """One source of prompts."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", description="its name in every row and metric")
    path: str | None = Field(None, description="file, directory or glob, relative to the repository root")
    hub: str | None = Field(None, description="data set on the Hub, or a folder that `datasets` can load")
    gym: str | None = Field(None, description="task of the reasoning-gym library by its name there, e.g. chain_sum")
    family: Literal["running_sums", "general"] | None = Field(None, description="a procedural family of tasks/prompts/")
    licence: str = Field(min_length=1, description="licence of the rows, e.g. MIT; `generated` for our own families")
    domain: Domain | None = Field(None, description="null only where each item of a family says its own")
    columns: Columns | None = Field(None, description="for path and hub")
    gold_pattern: str | None = Field(
        None, description=r"regex with one group that takes the gold out of its column, e.g. ####\s*(.+)$"
    )
    split: Literal["by-hash", "train", "final"] = Field(
        "by-hash", description="by content hash, or the whole source in one split"
    )
    count: int | None = Field(None, ge=1, description="items to generate, for gym and family")
    limit: int | None = Field(None, ge=1, description="first rows to read, for path and hub; null: all")
    language: Literal["en", "zh"] = Field("en", description="target language of the response")
    config: dict[str, str | int | float | bool | list] = Field(
        {}, description="settings of the reasoning-gym task, as its library names them"
    )
    revision: str | None = Field(None, description="commit on the Hub, 40 hex digits")
    subset: str | None = Field(None, description="configuration of the data set on the Hub")
    hub_split: str = Field("train", description="split of the data set on the Hub")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="of the file (of the listing, for several): pins what `path` holds"
    )

    @model_validator(mode="after")
    def _consistent(self):
        kinds = [k for k in ("path", "hub", "gym", "family") if getattr(self, k) is not None]
        if len(kinds) != 1:
            raise ValueError(f"source {self.name}: give exactly one of path, hub, gym, family; found {kinds or 'none'}")
        external = kinds[0] in ("path", "hub")
        needed = ("columns",) if external else ("count",)
        allowed = {"path": ("sha256",), "hub": ("revision", "subset", "hub_split"), "gym": ("config",), "family": ()}[
            kinds[0]
        ]
        special = {"columns", "gold_pattern", "limit", "count", "config", "revision", "subset", "hub_split", "sha256"}
        allowed = {*allowed, *(("columns", "gold_pattern", "limit") if external else ("count",))}
        if missing := [k for k in needed if getattr(self, k) is None]:
            raise ValueError(f"source {self.name}: `{kinds[0]}` needs `{missing[0]}`")
        if extra := sorted((self.model_fields_set & special) - allowed):
            raise ValueError(f"source {self.name}: `{extra[0]}` means nothing beside `{kinds[0]}`")
        self._check_values()
        return self

    def _check_values(self):
        if self.domain is None and self.family != "general":
            raise ValueError(f"source {self.name}: give its domain")
        if self.columns and self.domain in VERIFIED and self.columns.gold is None:
            raise ValueError(f"source {self.name}: domain {self.domain} is verified, so `columns` needs `gold`")
        if self.columns and self.domain == "logic":
            raise ValueError(f"source {self.name}: logic is scored by reasoning-gym, so it needs `gym`, not files")
        if self.gold_pattern is not None:
            try:
                groups = re.compile(self.gold_pattern).groups
            except re.error as error:
                raise ValueError(f"source {self.name}: gold_pattern is no regex: {error}") from None
            if groups != 1:
                raise ValueError(f"source {self.name}: gold_pattern has {groups} groups, it needs exactly one")
        if self.hub and not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise ValueError(
                f"source {self.name}: `hub` needs `revision`, the 40 hex digits of a commit: a branch moves"
            )


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


@dataclass
class Reading:
    """The rows of one source and what vouches for them."""

    source: Source
    rows: list[RawRow]
    files: dict[str, str] = field(default_factory=dict)  # path as in params -> sha256


def read_source(source: Source, root: Path, seed: int) -> Reading:
    """All raw rows of one source, in a fixed order; an empty source is an error."""
    files: dict[str, str] = {}
    if source.family:
        rows = list(_family(source, derive_seed(seed, "prompts", source.name)))
    elif source.gym:
        rows = list(_gym(source, derive_seed(seed, "prompts", source.name)))
    elif source.hub:
        rows = _from_columns(source, read_hub(root, source.hub, source.subset, source.hub_split, source.revision))
    else:
        paths = _in_source(source, find_files, root, source.path)
        files = {shown(root, path): sha256(path) for path in paths}
        _check_pin(source, files)
        rows = _from_columns(source, (row for path in paths for row in read(path, shown(root, path))))
    if not rows:
        raise SourceError(
            f"source {source.name}: is empty, not one row in {source.path or source.hub or source.gym}"
        )
    return Reading(source, rows, files)


def _in_source(source: Source, function, *args):
    try:
        return function(*args)
    except SourceError as error:
        raise SourceError(f"source {source.name}: {error}") from error


def listing_sha(files: dict[str, str]) -> str:
    """What `sha256` in params.yaml pins: the file's own, or that of the sorted `sha256  name` lines of several."""
    if len(files) == 1:
        return next(iter(files.values()))
    lines = "".join(f"{digest}  {Path(name).name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _check_pin(source: Source, files: dict[str, str]) -> None:
    if source.sha256 and (found := listing_sha(files)) != source.sha256:
        raise SourceError(
            f"source {source.name}: {source.path} has sha256 {found}, but params.yaml pins {source.sha256}: "
            "the data changed; look at it, then put the new sha256 into params.yaml"
        )


def _family(source: Source, seed: int) -> Iterator[RawRow]:
    if source.family == "running_sums":
        from tasks.prompts.running_sums import problems
    else:
        from tasks.prompts.general import problems
    for item in problems(seed, source.count):
        origin = f"{source.family}#{item.index}"
        yield RawRow(item.text, item.gold, item.solution, item.domain or source.domain, item.language, origin)


def _gym(source: Source, seed: int) -> Iterator[RawRow]:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if source.gym not in DATASETS:
        import difflib

        near = difflib.get_close_matches(source.gym, DATASETS, 3) or sorted(DATASETS)[:5]
        raise SourceError(f"source {source.name}: reasoning-gym has no task {source.gym!r}; nearest: {', '.join(near)}")
    try:
        dataset = reasoning_gym.create_dataset(source.gym, seed=seed, size=source.count, **source.config)
    except (TypeError, ValueError, AssertionError) as error:
        raise SourceError(f"source {source.name}: reasoning-gym refuses the config of {source.gym}: {error}") from error
    for index in range(source.count):
        entry = json.loads(json.dumps(dataset[index], default=str))
        meta = {"gym": source.gym, "entry": entry}
        yield RawRow(
            entry["question"], entry["answer"], None, source.domain, source.language, f"gym:{source.gym}#{index}", meta
        )


def _from_columns(source: Source, rows: Iterator[tuple[str, dict]]) -> list[RawRow]:
    """Raw rows of a file or data set; a column missing from the first row of a file is an error, later ones are nulls."""
    out, seen = [], set()
    for origin, row in _in_source_rows(source, islice(rows, source.limit)):
        file = re.split(r"[:#]\d+$", origin)[0]
        if file not in seen:
            seen.add(file)
            _need_columns(source, origin, row)
        out.append(_raw(source, origin, row))
    return out


def _in_source_rows(source: Source, rows: Iterator) -> Iterator:
    try:
        yield from rows
    except SourceError as error:
        message = str(error)
        raise SourceError(message if message.startswith("source ") else f"source {source.name}: {message}") from error


def _need_columns(source: Source, origin: str, row: dict) -> None:
    for key, column in source.columns.model_dump().items():
        if column is not None and _lookup(row, column) is _MISSING:
            raise SourceError(
                f"source {source.name}: {origin} has no column {column!r} (columns.{key} in params.yaml); there is: {', '.join(row)}"
            )


_MISSING = object()


def _lookup(row, path: str):
    """The value at a dotted path, or _MISSING; a column whose own name has dots is found first."""
    if isinstance(row, dict) and path in row:
        return row[path]
    value = row
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def _raw(source: Source, origin: str, row: dict) -> RawRow:
    found, problem = {}, None
    for key, column in source.columns.model_dump().items():
        value = None if column is None else _lookup(row, column)
        value = None if value is _MISSING else value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if value is not None and not isinstance(value, str):
            problem = problem or (f"{key}_type", f"column {column!r} holds a {type(value).__name__}, not text")
            value = None
        found[key] = value
    if source.gold_pattern and found["gold"] is not None:
        matches = list(re.finditer(source.gold_pattern, found["gold"], re.MULTILINE))
        if matches:
            found["gold"] = matches[-1][1].strip()
        else:
            problem = problem or ("gold_pattern", f"no match of {source.gold_pattern} in {found['gold'][-60:]!r}")
    language = found["language"] or source.language
    if language not in ("en", "zh"):
        problem = problem or ("language", f"language {language!r} is neither en nor zh")
    meta = {"id": found["id"]} if found["id"] is not None else {}
    return RawRow(found["text"] or "", found["gold"], found["solution"], source.domain, language, origin, meta, problem)
