"""Where in which table an id stands: a sorted list of keys beside the tables, found by bisection without reading any.

Ids are content hashes, so rows lie in no order of theirs and Parquet's statistics prune nothing. For each key column of
each table one file, named by the sha256 that the table's manifest vouches for: a table made anew gets a new file, and
one that goes is found useless and removed. It is derived, never an artifact: delete the folder and it is made again.

A file holds n keys (uint64, ascending; equal ones in the order of rows), then n first rows and n lengths (uint32) of the
runs of equal ids, 16 bytes a run. A key is the first half of an id's 32 hexadecimal digits, which keeps their order: an
id is found by its first digits as well, and its neighbours are its near ids. Other ids are known by their MD5.
"""

import hashlib
import mmap
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasks.provenance.artifacts import REBUILD, ArtifactError, sha256
from tasks.provenance.tables import Table

BATCH = 65_536  # rows read at a time
HASHED = 1 << 20  # texts whose keys are made at a time
_HEX = re.compile(r"[0-9a-f]{16}")
# DuckDB's md5_number_lower is the last eight bytes of the digest, little-endian.
_KEY = """SELECT CASE WHEN regexp_full_match(x[-32:-17], '[0-9a-f]{16}') THEN ('0x' || x[-32:-17])::UBIGINT
          ELSE md5_number_lower(x) END AS key FROM ids"""
KEPT_NAME = r"(?:same text as|Jaccard [0-9.]+ with) (?P<name>.+), which is kept"  # in the evidence of prompts/bank.py


def key_of(id: str) -> int:
    """The key of an id or of any other text that rows are sought by."""
    digits = id[-32:-16]
    if _HEX.fullmatch(digits):
        return int(digits, 16)
    return int.from_bytes(hashlib.md5(id.encode(), usedforsecurity=False).digest()[8:], "little")


def keys_of(table: Table) -> dict[str, tuple[str, ...]]:
    """Key -> the columns it is made of, for one table: ids as they stand, and what stands for a row besides.

    `name`: source and origin of a prompt. `kept_name`: that of the prompt which a dropped one repeats.
    """
    if not table.rows:
        return {}
    if table.kind == "prompt":
        return {"id": ("id",), "name": ("source", "origin")}
    if table.kind == "decision":
        return {"row_id": ("row_id",)} | ({"kept_name": ("evidence",)} if table.stage == "prompts" else {})
    wanted = ("id", "prompt_id", "completion_id", "kept_id")
    if table.kind == "verdict" or table.name in ("agreement", "outcomes"):
        wanted = ("id", "completion_id")  # nobody asks for the others
    if table.kind == "other" and not table.columns.keys() & {"kept_id", "completion_id", "kept"}:
        return {}
    return {column: (column,) for column in wanted if column in table.columns}


@dataclass(frozen=True)
class Runs:
    """The keys of one column of one table, mapped into memory."""

    keys: memoryview
    first: memoryview
    length: memoryview

    @classmethod
    def read(cls, path: Path) -> "Runs":
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
        n = size // 16
        return cls(view[: 8 * n].cast("Q"), view[8 * n : 12 * n].cast("I"), view[12 * n :].cast("I"))

    def find(self, key: int) -> list[range]:
        """The runs of rows with this key."""
        at, found = bisect_left(self.keys, key), []
        while at < len(self.keys) and self.keys[at] == key:
            found.append(range(self.first[at], self.first[at] + self.length[at]))
            at += 1
        return found

    def between(self, low: int, high: int, most: int) -> list[range]:
        """The first runs with keys in [low, high]."""
        at = bisect_left(self.keys, low)
        end = min(bisect_left(self.keys, high + 1, at), at + most)
        return [range(self.first[i], self.first[i] + self.length[i]) for i in range(at, end)]

    def around(self, key: int, each: int) -> list[range]:
        """The runs next to where the key would stand."""
        at = bisect_left(self.keys, key)
        near = range(max(0, at - each), min(len(self.keys), at + each))
        return [range(self.first[i], self.first[i] + self.length[i]) for i in near]


class RowIndex:
    """The keys of many tables, in files of `folder`."""

    def __init__(self, tables: Iterable[Table], folder: Path):
        self.tables, self.folder = list(tables), Path(folder)
        self._runs: dict[Path, Runs] = {}

    def path(self, table: Table, key: str) -> Path:
        return self.folder / f"{table.sha256[:32]}.{key}"

    @cached_property
    def _wanted(self) -> dict[Path, tuple[Table, str]]:
        return {self.path(t, key): (t, key) for t in self.tables for key in keys_of(t)}

    def missing(self) -> list[tuple[Table, str]]:
        """What is still to be built."""
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        return [entry for path, entry in self._wanted.items() if path.name not in there]

    def build(self, progress: Callable[[int, int, str], None] = lambda done, of, name: None) -> None:
        """Build what is missing and remove what belongs to no table any more. ArtifactError: a table is damaged."""
        missing = self.missing()
        if not missing:
            return
        check(table for table, _ in missing)
        self.folder.mkdir(parents=True, exist_ok=True)
        import duckdb

        with duckdb.connect(config={"threads": 1}) as db:
            for done, (table, key) in enumerate(missing):
                progress(done, len(missing), f"{table.artifact.name}/{table.name}.{key}")
                _write(self.path(table, key), table, keys_of(table)[key], db)
        progress(len(missing), len(missing), "")
        known = {table.sha256[:32] for table in self.tables}
        for path in self.folder.iterdir():
            if re.fullmatch(r"[0-9a-f]{32}\.[a-z_]+", path.name) and path.stem not in known:
                path.unlink(missing_ok=True)

    def runs(self, table: Table, key: str) -> Runs:
        path = self.path(table, key)
        if path not in self._runs:
            self._runs[path] = Runs.read(path)
        return self._runs[path]

    def find(self, key: str, value: str, *kinds: str) -> Iterator[tuple[Table, list[range]]]:
        """Tables, of these kinds, that have rows whose `key` may be `value`, and where; another id may share its key."""
        sought = key_of(value)
        for table in self.tables:
            here = (not kinds or table.kind in kinds) and key in keys_of(table)
            if here and (found := self.runs(table, key).find(sought)):
                yield table, found


def check(tables: Iterable[Table]) -> None:
    """ArtifactError where a table is not what its manifest vouches for: a file of keys bears the manifest's sha256."""
    for table in {t.file: t for t in tables}.values():
        if sha256(table.file) != table.sha256:
            raise ArtifactError(f"{table.file} is damaged: it is not what its manifest vouches for; {REBUILD}")


def _write(path: Path, table: Table, columns: tuple[str, ...], db) -> None:
    """One index file; `db` is a connection of DuckDB."""
    import pyarrow as pa
    import pyarrow.compute as pc

    first, length, keys, waiting = [], [], [], []
    for start, texts, starts, ends in _read(table, columns):
        first.append(pc.add(starts, start).cast(pa.uint32()))
        length.append(pc.subtract(ends, starts).cast(pa.uint32()))
        waiting.append(texts)
        if sum(map(len, waiting)) >= HASHED:
            keys.append(_keys(waiting, db))
            waiting = []
    if waiting:
        keys.append(_keys(waiting, db))
    columns_of = ((keys, pa.uint64()), (first, pa.uint32()), (length, pa.uint32()))
    write_runs(path, *(pa.chunked_array(chunks, kind) for chunks, kind in columns_of))


def write_runs(path: Path, keys, first=None, length=None) -> None:
    """An index file of Arrow columns, renamed into place; by default every row is a run of its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if first is None:
        first = pa.chunked_array([pa.array(range(len(keys)), pa.uint32())])
        length = pa.chunked_array([pa.repeat(pa.scalar(1, pa.uint32()), len(keys))])
    order = pc.sort_indices(keys)  # stable: equal keys stay in the order of rows
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(half, "wb") as file:
            for part in (keys.take(order), first.take(order), length.take(order)):
                for chunk in part.chunks:
                    width = chunk.type.bit_width // 8
                    file.write(chunk.buffers()[1][chunk.offset * width : (chunk.offset + len(chunk)) * width])
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def _read(table: Table, columns: tuple[str, ...]) -> Iterator[tuple]:
    """(number of the first row, texts, starts, ends) of the runs of equal texts of each batch; nulls are left out."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    plain = columns[0] if len(columns) == 1 and columns[0] != "evidence" else None
    file = pq.ParquetFile(table.file, memory_map=True, read_dictionary=[plain] if plain else None)
    start = 0
    for batch in file.iter_batches(BATCH, columns=list(columns), use_threads=False):
        if plain:
            column = batch.column(0)
            runs = pc.run_end_encode(column.indices)
            texts = column.dictionary.take(runs.values)
        else:
            runs = pc.run_end_encode(_made(batch, columns))
            texts = runs.values
        ends = runs.run_ends.cast(pa.int64())
        starts = pa.concat_arrays([pa.array([0], pa.int64()), ends[:-1]])
        there = texts.is_valid()
        yield start, texts.filter(there), starts.filter(there), ends.filter(there)
        start += len(batch)


def _made(batch, columns: tuple[str, ...]):
    """The names of rows, or of those kept in their place."""
    import pyarrow.compute as pc

    if columns == ("evidence",):
        return pc.struct_field(pc.extract_regex(batch["evidence"], KEPT_NAME), "name")
    return pc.binary_join_element_wise(*(batch[c] for c in columns), " ")


def _keys(texts: list, db):
    """The keys of Arrow arrays of texts, uint64."""
    import pyarrow as pa

    db.register("ids", pa.table({"x": pa.chunked_array(texts, pa.string()).combine_chunks()}))
    return db.sql(_KEY).to_arrow_table()["key"].combine_chunks()
