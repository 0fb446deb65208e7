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

from tasks.prompts.archives import on_disk
from tasks.prompts.columns import Columns, MetaValue, RawRow, reader_of, require
from tasks.prompts.formats.found import Format, load
from tasks.prompts.readers import SourceError, find_files, read, read_hub, shown
from tasks.provenance.artifacts import sha256
from tasks.rows import derive_seed
from tasks.settings import Settings

Domain = Literal[
    "maths", "choice", "quantity", "logic", "instructions", "code", "writing", "qa", "self", "translation", "greeting",
    "safety",
]  # fmt: skip
NEEDS_GOLD = ("maths", "choice", "quantity")  # a logic prompt says in its meta whether it does
NEEDS_META = ("logic", "instructions", "code")  # without which nothing can be verified
OPEN = ("writing", "qa", "self", "translation", "greeting", "safety")  # no rule verifies these


class Source(Settings):
    """One source of prompts."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", description="its name in every row and metric")
    path: str | None = Field(None, description="file, directory, archive or glob, relative to the repository root")
    hub: str | None = Field(None, description="data set on the Hub, or a folder that `datasets` can load")
    gym: str | None = Field(None, description="task of the reasoning-gym library by its name there, e.g. chain_sum")
    family: Literal["running_sums", "general"] | None = Field(None, description="a procedural family of tasks/prompts/")
    licence: str = Field(min_length=1, description="licence of the rows, e.g. MIT; `generated` for our own families")
    domain: Domain | None = Field(None, description="null where a format or each item of a family says its own")
    format: Format | None = Field(
        None, description="what the rows of path and hub are, where tasks/prompts/formats/ knows it; else `columns`"
    )
    columns: Columns | None = Field(None, description="for path and hub, where no format is named")
    meta: dict[str, MetaValue] = Field(
        {},
        description="beside columns: what the domain's verifier wants (tests, unit …), from a column or constant",
    )
    drop_pattern: str | None = Field(
        None, description="regex taken out of the text, such as a closing sentence that asks for a box"
    )
    gold_pattern: str | None = Field(
        None, description=r"regex with one group that takes the gold out of its column, e.g. ####\s*(.+)$"
    )
    procedural: bool | None = Field(
        None,
        description="made from a template, so that only equal prompts are duplicates; null: as its kind or format says",
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
        allowed = {"path": ("sha256",), "hub": ("revision", "subset", "hub_split"), "gym": ("config",), "family": ()}[
            kinds[0]
        ]
        of_columns = ("columns", "meta", "gold_pattern", "drop_pattern")
        special = {*of_columns, "format", "limit", "count", "config", "revision", "subset", "hub_split", "sha256"}
        allowed = {*allowed, *((*of_columns, "format", "limit") if external else ("count",))}
        if external and (self.columns is None) == (self.format is None):
            raise ValueError(
                f"source {self.name}: `{kinds[0]}` needs `columns`, or `format` where there is one for its rows"
            )
        if not external and self.count is None:
            raise ValueError(f"source {self.name}: `{kinds[0]}` needs `count`")
        if extra := sorted((self.model_fields_set & special) - allowed):
            raise ValueError(f"source {self.name}: `{extra[0]}` means nothing beside `{kinds[0]}`")
        if self.format and (extra := sorted(self.model_fields_set & {*of_columns})):
            raise ValueError(f"source {self.name}: `{extra[0]}` means nothing beside `format`")
        self._check_values()
        return self

    @property
    def is_procedural(self) -> bool:
        """Whether its rows share a template by design."""
        if self.procedural is not None:
            return self.procedural
        return bool(self.gym or self.family) or (
            self.format is not None and getattr(load(self.format), "PROCEDURAL", False)
        )

    def _check_values(self):
        if self.domain is None and self.family != "general" and not self.format:
            raise ValueError(f"source {self.name}: give its domain")
        if self.format and self.domain not in (None, own := load(self.format).DOMAIN) and own not in OPEN:
            raise ValueError(f"source {self.name}: rows of format {self.format} are of domain {own}, not {self.domain}")
        if self.columns:
            self._check_columns()
        for key, groups in (("gold_pattern", 1), ("drop_pattern", None)):
            if (pattern := getattr(self, key)) is not None:
                try:
                    found = re.compile(pattern).groups
                except re.error as error:
                    raise ValueError(f"source {self.name}: {key} is no regex: {error}") from None
                if groups is not None and found != groups:
                    raise ValueError(f"source {self.name}: {key} has {found} groups, it needs exactly one")
        if self.hub and not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise ValueError(
                f"source {self.name}: `hub` needs `revision`, the 40 hex digits of a commit: a branch moves"
            )

    def _check_columns(self):
        if self.domain in NEEDS_GOLD and self.columns.gold is None:
            raise ValueError(f"source {self.name}: domain {self.domain} is verified, so `columns` needs `gold`")
        if self.domain == "choice" and self.columns.options is None and "options" not in self.meta:
            raise ValueError(f"source {self.name}: a choice needs its options: give `columns.options`")
        if self.columns.options is not None and (self.domain != "choice" or self.columns.gold is None):
            raise ValueError(f"source {self.name}: `columns.options` is for domain choice, with `columns.gold`")
        if self.domain in NEEDS_META and not self.meta:
            raise ValueError(
                f"source {self.name}: domain {self.domain} is verified by what stands in a prompt's meta: give "
                "`format`, or `meta` (tasks/verification/ says which keys its verifier reads)"
            )
        if self.columns.id and self.domain == "code":
            raise ValueError(f"source {self.name}: `columns.id` has no place in the meta of a code prompt")


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
    else:
        rows = [raw for _, raw in read_rows_of(source, root, files)]
    if not rows:
        raise SourceError(f"source {source.name}: is empty, not one row in {source.path or source.hub or source.gym}")
    return Reading(source, rows, files)


def rows_of(form: Format | None, files: list[tuple[Path, str]]) -> Iterator[tuple[str, dict]]:
    """(origin, row) of files, given with their names; some formats are more than files of rows."""
    module = load(form) if form else None
    if hasattr(module, "records"):
        return module.records(files)
    header = getattr(module, "HEADER", None)
    return (row for path, name in files for row in read(path, name, header))


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


def read_rows_of(source: Source, root: Path, files: dict[str, str] | None = None) -> Iterator[tuple[dict, RawRow]]:
    """(row as found, raw row) of a `path` or `hub` source; `files` takes the sha256 of what was read, by path.

    A column missing from the first row of a file is a SourceError, later ones are nulls.
    """
    if source.hub:
        rows = read_hub(root, source.hub, source.subset, source.hub_split, source.revision)
    else:
        paths = _in_source(source, find_files, root, source.path)
        files = {} if files is None else files
        files |= {shown(root, path): sha256(path) for path in dict.fromkeys(map(on_disk, paths))}
        _check_pin(source, files)
        rows = rows_of(source.format, [(path, shown(root, path)) for path in paths])
    seen, one = set(), reader_of(source)
    for origin, row in _in_source_rows(source, islice(rows, source.limit)):
        file = re.split(r"[:#]\d+$", origin)[0]
        if file not in seen:
            seen.add(file)
            require(source, origin, row)
        yield row, one(origin, row)


def _in_source_rows(source: Source, rows: Iterator) -> Iterator:
    try:
        yield from rows
    except SourceError as error:
        message = str(error)
        raise SourceError(message if message.startswith("source ") else f"source {source.name}: {message}") from error
