"""JSON lines of candidates to Parquet, once: what is no row is written down with its line, and the rest goes on."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from tasks.curation.columns import KEYS, LINE, OPTIONAL, REQUIRED
from tasks.curation.errors import CurationError
from tasks.curation.verdicts import Judged, Verdicts
from tasks.execution import unique
from tasks.provenance.artifacts import ROW_GROUP, sha256

PART_BYTES = 64 << 20  # of lines that are held in memory at a time
KIND = {str: "text", bool: "true or false", int: "a number", float: "a number"}
WHOLE = 2**63


class BadLine(Exception):
    """A line that is no candidate; the message says why."""


def convert(
    path: str, digest: str, columns: Mapping[str, str], folder: Path, verdicts: Verdicts | None = None
) -> Path:
    """Folder with part-*.parquet and facts.json ({"bad": […], "parts": {name: sha256}}) of a JSON lines file.

    Columns have their names here, LINE the line of a row. Objects and lists are carried as their JSON text.
    """
    what = [digest, sorted(columns.items()), 2, verdicts and [verdicts.sha256, verdicts.in_order]]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:24]
    done, making = folder / key, unique(folder / key)
    if done.is_dir():
        return done
    making.mkdir(parents=True)
    names: dict[str, list[str]] = {}
    for name in (*REQUIRED, *OPTIONAL):
        names.setdefault(columns.get(name, name), []).append(name)
    reader = _Reader(path, names, Judged(verdicts, path) if verdicts else None)
    parts = {}
    for number, table in enumerate(reader.tables()):
        name = f"part-{number:05}.parquet"
        _write(table, making / name)
        parts[name] = sha256(making / name)
    (making / "facts.json").write_text(json.dumps({"bad": reader.bad, "parts": parts}))
    try:
        making.rename(done)
    except OSError:  # another machine was told to do the same and was first
        if not done.is_dir():
            raise
        shutil.rmtree(making)
    return done


def _write(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd", compression_level=1, row_group_size=ROW_GROUP)


class _Reader:
    def __init__(self, path: str, names: Mapping[str, list[str]], judged: Judged | None = None):
        self.path, self.names = path, names  # column of the file -> names here
        self.judged = judged
        self.bad: list[dict] = []  # {"line", "reason"}
        self.kinds: dict[str, tuple[type, int]] = {}  # column -> kind of its values, line of the first one

    def tables(self) -> Iterator[pa.Table]:
        """Rows of about PART_BYTES of lines at a time."""
        rows, size = [], 0
        for number, line in enumerate(self._lines(), 1):
            if not line.strip():
                continue
            if self.judged:
                self.judged.line()
            try:
                rows.append(self._row(number, line))
            except BadLine as error:
                self.bad.append({"line": number, "reason": str(error)})
                continue
            size += len(line)
            if size >= PART_BYTES:
                yield self._table(rows)
                rows, size = [], 0
        if self.judged:
            self.judged.end()
        if rows:
            yield self._table(rows)

    def _lines(self) -> Iterator[bytes]:
        try:
            with gzip.open(self.path) if self.path.endswith(".gz") else open(self.path, "rb") as file:
                yield from file
        except (EOFError, gzip.BadGzipFile) as error:
            raise CurationError(f"{self.path} is no whole gzip file ({error}); fetch it again") from None

    def _row(self, number: int, line: bytes) -> dict:
        try:
            values = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise BadLine(f"no UTF-8 at byte {error.start}") from None
        except (ValueError, RecursionError) as error:
            raise BadLine(f"no JSON: {error}") from None
        if not isinstance(values, dict):
            raise BadLine(f"a JSON {type(values).__name__}, no object")
        if b"\\ud" in line or b"\\uD" in line:
            try:
                json.dumps(values, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise BadLine("half a surrogate pair, no character") from None
        row = {LINE: number}
        for theirs, value in values.items():
            for name in self.names.get(theirs, [theirs]):
                if name in row:
                    raise CurationError(
                        f"{self.path}:{number}: column {theirs!r} collides with the one taken for {name!r}"
                    )
                row[name] = self._value(name, theirs, value, number)
        for name in REQUIRED:
            if row.get(name) is None:
                raise BadLine(f"{name} is missing or null")
        if self.judged:
            if "verdict" in row:
                raise CurationError(f"{self.path}:{number}: the row has a verdict already: leave --verdicts out")
            row["verdict"] = self._value("verdict", "verdict", self.judged.status(row["id"], number), number)
        return row

    def _value(self, name: str, theirs: str, value: object, number: int) -> object:
        if value is None:
            return None
        kind = type(value)
        if name in REQUIRED or name in OPTIONAL:
            wanted = (int,) if name == "index" else (str, int) if name in KEYS else (str,)
            if kind not in wanted:
                raise BadLine(f"{theirs} is {KIND.get(kind, f'a {kind.__name__}')}, not {KIND[wanted[0]]}")
        elif kind in (dict, list):
            value, kind = json.dumps(value, ensure_ascii=False), str
        if kind is int and not -WHOLE <= value < WHOLE:
            raise BadLine(f"{theirs} is a number of more than 64 bits")
        known, line = self.kinds.setdefault(name, (kind, number))
        if kind is not known:
            if {kind, known} != {int, float}:
                raise CurationError(
                    f"{self.path}: column {theirs!r} is {KIND[known]} in line {line} and {KIND[kind]} in line "
                    f"{number}: make them agree"
                )
            self.kinds[name] = (float, line)
        return value

    def _table(self, rows: list[dict]) -> pa.Table:
        types = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
        names = dict.fromkeys([*REQUIRED, *OPTIONAL, *sorted(self.kinds)])
        fields = [(name, types[self.kinds[name][0]]) for name in names if name in self.kinds]
        present = {name for row in rows for name in row}
        required = [(name, pa.string()) for name in REQUIRED if name not in self.kinds]
        schema = pa.schema([(LINE, pa.int64()), *required, *(f for f in fields if f[0] in present or f[0] in OPTIONAL)])
        return pa.Table.from_pylist(rows, schema=schema)
