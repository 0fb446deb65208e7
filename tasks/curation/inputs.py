"""Candidates from files: which files, whether they are whole, which columns they have; JSON lines become Parquet once.

A candidate has `id, prompt_id, prompt, text` and may have OPTIONAL columns; every other column is carried through to
kept.parquet and determines nothing. A row without one of the four is malformed: it is rejected with its place, and too
many of them stop the run. Parquet files are used where they lie and never changed.
"""

import fnmatch
import glob
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from tasks.curation.columns import KEYS, LINE, OPTIONAL, REQUIRED
from tasks.curation.errors import CurationError
from tasks.curation.json_lines import convert
from tasks.curation.verdicts import Verdicts
from tasks.provenance.artifacts import sha256

SUFFIXES = ("*.parquet", "*.jsonl", "*.ndjson", "*.jsonl.gz", "*.ndjson.gz")
SHARD_BYTES = 96 << 20  # of uncompressed columns; no result depends on it


@dataclass(frozen=True)
class Source:
    """An input file: where it lies, and its name below the given input, which stands in evidence."""

    path: str
    name: str
    sha256: str = ""


@dataclass(frozen=True)
class Shard:
    """Row groups [start, stop) of an immutable Parquet file of candidates."""

    path: str
    origin: str  # path of the input file that a person knows
    name: str  # the same below the given input
    sha256: str  # of the Parquet file
    groups: tuple[int, int]
    first: int  # row of the file that the shard begins with
    rows: int
    columns: tuple[tuple[str, str], ...]  # (name here, name in the file), REQUIRED and OPTIONAL ones that it has
    extra: tuple[str, ...]  # other columns, by their names in the file
    lines: bool  # the file was JSON lines: column LINE says where a row stood

    def place(self, position: int, line: int | None) -> str:
        """Where a person finds a row of the shard."""
        return f"{self.origin}:{line}" if self.lines else f"{self.origin} row {self.first + position}"


def find_sources(inputs: Sequence[str | Path]) -> list[Source]:
    """The given files, those in given folders and those of globs, each once; a path that exists is no glob."""
    found: dict[str, Source] = {}
    for given in map(str, inputs):
        path = Path(given)
        if path.is_dir():
            files = sorted(f for f in path.rglob("*") if f.is_file() and _known(f.name) and not _hidden(f, path))
            named = [(f, f.relative_to(path).as_posix()) for f in files]
        elif path.is_file():
            if not _known(path.name):
                raise CurationError(f"{path}: candidates are read from {', '.join(SUFFIXES)}; rename or convert it")
            named = [(path, path.name)]
        else:
            named = [(Path(f), Path(f).name) for f in sorted(glob.glob(given, recursive=True)) if _known(f)]
        if not named:
            raise CurationError(f"{given}: no such file, or nothing of {', '.join(SUFFIXES)} in it")
        for file, name in named:
            found.setdefault(str(file.resolve()), Source(str(file), name))
    return list(found.values())


def _known(name: str) -> bool:
    return any(fnmatch.fnmatch(name, suffix) for suffix in SUFFIXES)


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def read_sums(path: Path) -> dict[str, str]:
    """File name -> checksum of a list as `sha256sum` writes it."""
    sums = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        digest, _, name = line.strip().partition(" ")
        if len(digest) != 64 or not name.strip():
            raise CurationError(f"{path}:{number}: expected a sha256 and a file name, as `sha256sum FILE…` prints them")
        sums[os.path.basename(name.strip().lstrip("*"))] = digest.lower()
    return sums


def checked_source(source: Source, sums: Mapping[str, str]) -> Source:
    """The source with its sha256, compared with what `sums`, FILE.sha256 or the manifest beside it say of it."""
    path = Path(source.path)
    found = sha256(path)
    for book, expected in _expected(path, sums):
        if expected != found:
            raise CurationError(
                f"{path} is damaged: its sha256 is {found[:12]}… but {book} says {expected[:12]}…; fetch it again"
            )
    return replace(source, sha256=found)


def _expected(path: Path, sums: Mapping[str, str]) -> list[tuple[str, str]]:
    said = [("the list of checksums", sums[path.name])] if path.name in sums else []
    sidecar = path.with_name(path.name + ".sha256")
    if sidecar.is_file():
        said.append((sidecar.name, sidecar.read_text().split()[0].lower() if sidecar.read_text().split() else ""))
    manifest = path.with_name("manifest.json")
    if manifest.is_file():
        try:
            files = json.loads(manifest.read_text()).get("files", {})
        except (ValueError, AttributeError):
            raise CurationError(f"{manifest} is no manifest: mend it or move it away") from None
        entry = files.get(path.name) if isinstance(files, dict) else None
        if isinstance(entry, dict) and "sha256" in entry:
            said.append((manifest.name, entry["sha256"]))
    return said


def different(sources: Sequence[Source]) -> None:
    """Refuse two files of the same bytes: every id would stand twice."""
    seen: dict[str, Source] = {}
    for source in sources:
        if source.sha256 in seen and os.path.getsize(source.path):
            raise CurationError(f"{source.path} and {seen[source.sha256].path} are the same file twice; leave one out")
        seen[source.sha256] = source


def shards_of(
    source: Source, path: Path, digest: str, columns: Mapping[str, str], lines: bool, size: int
) -> list[Shard]:
    """The shards of a Parquet file: runs of row groups of about `size` uncompressed bytes."""
    file = opened(path)
    here, extra = _columns(source.path, file.schema_arrow, columns)
    extra = tuple(name for name in extra if not (lines and name == LINE))
    common = {"path": str(path), "origin": source.path, "name": source.name, "sha256": digest}
    common |= {"columns": here, "extra": extra, "lines": lines}
    shards, start, first, rows, weight = [], 0, 0, 0, 0
    for group in range(file.num_row_groups):
        meta = file.metadata.row_group(group)
        rows, weight = rows + meta.num_rows, weight + meta.total_byte_size
        if weight >= size or group == file.num_row_groups - 1:
            shards.append(Shard(groups=(start, group + 1), first=first, rows=rows, **common))
            start, first, rows, weight = group + 1, first + rows, 0, 0
    return [shard for shard in shards if shard.rows]


def opened(path: str | Path):
    """A ParquetFile read through a map; CurationError where its structure is damaged."""
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, memory_map=True, pre_buffer=False, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise CurationError(f"{path} is no whole Parquet file ({_first_line(error)}); fetch it again") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _columns(path: str, schema: pa.Schema, columns: Mapping[str, str]) -> tuple[tuple, tuple]:
    """((name here, name in the file), …) and the other columns of a file, after checking their types."""
    here = []
    for name in (*REQUIRED, *OPTIONAL):
        theirs = columns.get(name, name)
        if schema.names.count(theirs) > 1:
            raise CurationError(f"{path}: column {theirs!r} stands {schema.names.count(theirs)} times")
        if theirs not in schema.names:
            if name in REQUIRED or name in columns:
                raise CurationError(
                    f"{path}: column {theirs!r} is missing; it has {', '.join(schema.names)}. "
                    f"Name the right one: --columns {name}=COLUMN"
                )
            continue
        found = schema.field(theirs).type
        if not _fits(name, found):
            wanted = "whole numbers" if name == "index" else "text or whole numbers" if name in KEYS else "text"
            raise CurationError(f"{path}: column {theirs!r} is {found}, but {name} must be {wanted}")
        here.append((name, theirs))
    used = {theirs for _, theirs in here}
    extra = tuple(name for name in schema.names if name not in used)
    if clash := sorted(set(extra) & {name for name, _ in here}):
        raise CurationError(
            f"{path}: column {clash[0]!r} is not what --columns takes for {clash[0]} and would be overwritten: "
            "rename it"
        )
    if twice := [name for name in extra if schema.names.count(name) > 1]:
        raise CurationError(f"{path}: column {twice[0]!r} stands {schema.names.count(twice[0])} times")
    return tuple(here), extra


def _fits(name: str, found: pa.DataType) -> bool:
    found = found.value_type if pa.types.is_dictionary(found) else found
    text = pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found)
    whole = pa.types.is_integer(found)
    absent = pa.types.is_null(found)
    return whole or absent if name == "index" else text or absent or (whole and name in KEYS)


def agreed(shards: Sequence[Shard]) -> pa.Schema:
    """Columns and types of all shards together, as kept.parquet has them; CurationError names the files that differ.

    Keys must be text everywhere or numbers everywhere, and an OPTIONAL column in all Parquet files or in none. A
    column that is carried through may be absent from some files (nulls there); its types must have one in common.
    """
    types: dict[str, tuple[pa.DataType, str]] = {}
    for shard in _one_per_file(shards):
        schema = opened(shard.path).schema_arrow
        for name, theirs in (*shard.columns, *((e, e) for e in shard.extra)):
            found = _plain(schema.field(theirs).type)
            known, where = types.get(name, (found, shard.origin))
            types[name] = (_common(name, known, where, found, shard.origin), where)
    tables = [shard for shard in _one_per_file(shards) if not shard.lines]
    for name in OPTIONAL:
        has = [shard.origin for shard in tables if name in dict(shard.columns)]
        lacks = [shard.origin for shard in tables if name not in dict(shard.columns)]
        if has and lacks:
            raise CurationError(f"{has[0]} has a column for {name!r} and {lacks[0]} has none: make them agree")
    fixed = {name: pa.string() for name in (*REQUIRED, *OPTIONAL)} | {"index": pa.int64()}
    here = [name for name in (*REQUIRED, *OPTIONAL) if name in types]
    return pa.schema(
        [(name, fixed[name]) for name in here]
        + [(name, found) for name, (found, _) in sorted(types.items()) if name not in fixed]
    )


def _one_per_file(shards: Sequence[Shard]) -> list[Shard]:
    return list({shard.path: shard for shard in reversed(shards)}.values())[::-1]


def _plain(found: pa.DataType) -> pa.DataType:
    found = found.value_type if pa.types.is_dictionary(found) else found
    return pa.string() if pa.types.is_large_string(found) or pa.types.is_string_view(found) else found


def _common(name: str, a: pa.DataType, where_a: str, b: pa.DataType, where_b: str) -> pa.DataType:
    text = [pa.types.is_string(t) for t in (a, b) if not pa.types.is_null(t)]
    try:
        if len(set(text)) == 2:
            raise pa.ArrowInvalid("text and no text")
        schemas = [pa.schema([(name, t)]) for t in (a, b)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        raise CurationError(f"column {name!r} is {a} in {where_a} and {b} in {where_b}: make them agree") from None


def register(
    sources: Sequence[Source],
    columns: Mapping[str, str],
    work: Path,
    size: int = SHARD_BYTES,
    run: Callable = map,
    progress: Callable[[int, int], None] = lambda done, total: None,
    verdicts: Verdicts | None = None,
) -> tuple[list[Shard], list[dict]]:
    """Shards of checked sources, and the malformed lines of those that were JSON; `run` is a (parallel) map."""
    if strangers := sorted(set(columns) - {*REQUIRED, *OPTIONAL}):
        raise CurationError(f"columns: {strangers[0]!r} is none of {', '.join((*REQUIRED, *OPTIONAL))}")
    different(sources)
    lines = [s for s in sources if not s.path.endswith(".parquet")]
    jobs = [[s.path for s in lines], [s.sha256 for s in lines]]
    jobs += [[dict(columns)] * len(lines), [work / "converted"] * len(lines), [verdicts] * len(lines)]
    made = {}
    for folder in run(convert, *jobs):
        made[lines[len(made)].path] = folder
        progress(len(made), len(lines))
    shards, malformed = [], []
    for source in sources:
        if source.path not in made:
            shards += shards_of(source, Path(source.path), source.sha256, columns, False, size)
            continue
        facts = json.loads((made[source.path] / "facts.json").read_text())
        malformed += [
            {"sha256": source.sha256, "origin": source.path, "name": source.name, **bad} for bad in facts["bad"]
        ]
        for part, digest in facts["parts"].items():
            shards += shards_of(source, made[source.path] / part, digest, {}, True, size)
    return shards, malformed
