"""Rows out of files: JSONL, JSON, CSV, TSV, Parquet, each also gzipped; one file, a directory, an archive or a glob.

Every row comes with its origin, `file:line` in text files and `file#row` (from 1) in JSON arrays and Parquet, so
that any later decision can point at it. Whatever cannot be read is a SourceError that names file, row and remedy.
"""

import csv
import fnmatch
import gzip
import io
import json
import os.path
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tasks.prompts import archives
from tasks.provenance.artifacts import ArtifactError

FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
MAX_FIELD = 16 << 20  # characters of one CSV field; the library's own limit is 128 Ki


class SourceError(ArtifactError):
    """A source cannot be read; the message names the source, the file and row, and what to do."""


def format_of(path: Path) -> str | None:
    """ ".jsonl", ".csv", … by the file's name, a final .gz aside; None where it is none of FORMATS."""
    name = path.name.lower().removesuffix(".gz")
    return next((f for f in FORMATS if name.endswith(f)), None)


def find_files(root: Path, pattern: str) -> list[Path]:
    """Files of a path, a directory (all of a known format in it, sorted) or a glob, relative to `root`.

    An archive is a directory: a file in it is the path of the archive and its own, which `read` opens.
    """
    path = root / pattern
    if found := archives.inside(path):
        return _members(*found, pattern)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and format_of(p) and not p.name.startswith("."))
        if not files:
            raise SourceError(
                f"{pattern}: no file of a known format in this directory ({', '.join(FORMATS)}, or with .gz)"
            )
        return files
    if path.exists():
        if format_of(path) is None:
            raise SourceError(f"{pattern}: unknown format; known are {', '.join(FORMATS)}, each also with .gz")
        return [path]
    if not any(c in pattern for c in "*?["):
        raise SourceError(f"{pattern}: no such file; paths are relative to the repository root, {root}")
    base = Path(pattern)
    parts = base.parts
    fixed = next(i for i, part in enumerate(parts) if any(c in part for c in "*?["))
    files = sorted(p for p in root.joinpath(*parts[:fixed]).glob(str(Path(*parts[fixed:]))) if p.is_file())
    if not files:
        raise SourceError(f"{pattern}: no file matches this glob, seen from the repository root {root}")
    if unknown := [p.name for p in files if format_of(p) is None]:
        raise SourceError(
            f"{pattern}: matches {unknown[0]}, whose format is unknown; known are {', '.join(FORMATS)} and .gz"
        )
    return files


def _members(archive: Path, wanted: str, pattern: str) -> list[Path]:
    """Files of a known format in an archive: all, one, a folder's, or those that a glob of their names matches."""
    try:
        names = [name for name in archives.members(archive) if format_of(Path(name))]
    except OSError as error:
        raise SourceError(f"{pattern}: {error}; is the download complete?") from error
    fits = [n for n in names if not wanted or n == wanted or n.startswith(f"{wanted}/") or fnmatch.fnmatch(n, wanted)]
    if not fits:
        held = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        raise SourceError(f"{pattern}: no such file of a known format in {archive.name}; it holds {held or 'none'}")
    return [archive / name for name in fits]


def shown(root: Path, path: Path) -> str:
    """A path the way params.yaml writes it: relative to the repository root, `..` included."""
    return Path(os.path.relpath(path, root)).as_posix()


def read(path: Path, name: str, header: tuple[str, ...] | None = None) -> Iterator[tuple[str, dict]]:
    """(origin, row) of one file; `name` is what the origin calls it.

    `header`: the columns of CSV files that come without a header line.
    """
    kind = format_of(path)
    try:
        with _opened(path) as raw:
            stream = gzip.open(raw) if path.name.lower().endswith(".gz") else raw
            if kind == ".parquet":
                yield from _parquet(io.BytesIO(stream.read()) if stream is not raw else raw, name)
                return
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            if kind in (".csv", ".tsv"):
                yield from _csv(text, name, header)
            else:
                yield from (_json if kind == ".json" else _json_lines)(text, name)
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: not UTF-8 ({error.reason} at byte {error.start}); convert the file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{name}: cannot be read: {error}; is the download complete?") from error


def _opened(path: Path) -> IO[bytes]:
    found = archives.inside(path)
    return io.BytesIO(archives.read_member(*found)) if found else open(path, "rb")


def read_bytes(path: Path) -> bytes:
    """A whole file, also one in an archive."""
    with _opened(path) as file:
        return file.read()


def _json_lines(text, name: str) -> Iterator[tuple[str, dict]]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SourceError(f"{name}:{number}: no valid JSON ({error}); correct or remove this line") from error
        yield f"{name}:{number}", _record(row, f"{name}:{number}")


def _json(text, name: str) -> Iterator[tuple[str, dict]]:
    content = text.read()
    try:
        data = json.loads(content)
    except ValueError as error:
        if content.lstrip().startswith("{") and "\n" in content.strip():  # JSON lines by another name
            yield from _json_lines(io.StringIO(content), name)
            return
        raise SourceError(f"{name}: no valid JSON ({error})") from error
    if isinstance(data, dict):  # one key that holds the rows, as in {"data": [...]}, or a single row
        lists = [v for v in data.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        data = lists[0] if len(data) == 1 and lists else [data]
    if not isinstance(data, list):
        raise SourceError(f"{name}: holds a {type(data).__name__}, expected a list of objects")
    for number, row in enumerate(data, 1):
        yield f"{name}#{number}", _record(row, f"{name}#{number}")


def _record(row, origin: str) -> dict:
    if not isinstance(row, dict):
        raise SourceError(f"{origin}: is a {type(row).__name__}, expected an object with named columns")
    return row


def _csv(text, name: str, header: tuple[str, ...] | None) -> Iterator[tuple[str, dict]]:
    csv.field_size_limit(MAX_FIELD)
    delimiter = "\t" if name.lower().removesuffix(".gz").endswith(".tsv") else ","
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = header or next(reader, None)
        if header is None:
            return
        if len(set(header)) < len(header):
            raise SourceError(f"{name}:1: a column name stands twice in the header {header}")
        start = reader.line_num + 1
        for values in reader:
            if values:
                if len(values) != len(header):
                    raise SourceError(
                        f"{name}:{start}: {len(values)} fields, but the header has {len(header)}: {header}"
                    )
                yield f"{name}:{start}", dict(zip(header, values))
            start = reader.line_num + 1
    except csv.Error as error:
        raise SourceError(f"{name}:{reader.line_num}: no valid CSV ({error})") from error


def _parquet(file: IO[bytes], name: str) -> Iterator[tuple[str, dict]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        for batch in pq.ParquetFile(file).iter_batches(batch_size=4096):
            for row in batch.to_pylist():
                number += 1
                yield f"{name}#{number}", row
    except pa.ArrowException as error:
        raise SourceError(f"{name}: no readable Parquet ({str(error).splitlines()[0]})") from error


def read_hub(root: Path, name: str, subset: str | None, split: str, revision: str) -> Iterator[tuple[str, dict]]:
    """(origin, row) of a data set on the Hub at a pinned revision, or of a local folder that `datasets` can load."""
    import datasets

    folder = root / name
    where = str(folder) if folder.is_dir() else name
    try:
        rows = datasets.load_dataset(where, subset, split=split, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise SourceError(
            f"the Hub data set {name} at {revision} cannot be loaded: {str(error).splitlines()[0]}; "
            "check its name, subset, hub_split and revision, and the connection (or give its files as `path`)"
        ) from error
    for number, row in enumerate(rows, 1):
        yield f"hub:{name}@{revision}#{number}", row
