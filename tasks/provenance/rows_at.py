"""Rows of Parquet files by their numbers: only the row groups that hold them are read, a column at a time and no further."""

import contextlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from tasks.provenance.artifacts import REBUILD, ArtifactError

KEPT = 8  # row groups in memory
AHEAD = 1024  # rows of a row group decoded at a time


class Files:
    """Parquet files kept open; their metadata are read once. ArtifactError where one is missing or cannot be read."""

    def __init__(self):
        self._open: dict[Path, _File] = {}
        self._groups: dict[tuple, dict] = {}

    def _file(self, path: Path) -> "_File":
        if path not in self._open:
            with _named(path):
                self._open[path] = _File(path)
        return self._open[path]

    def rows(self, path: Path, numbers: Iterable[int], columns: Sequence[str] | None = None) -> list[dict]:
        """Rows by number, ascending, with these columns; by default all."""
        file, found = self._file(path), []
        wanted = [name for name in file.names if name in columns] if columns else file.names
        for group, members in groupby(sorted(set(numbers)), file.group_of):
            if group is None:
                raise ArtifactError(f"{path} has fewer rows than what its manifest vouches for; {REBUILD}")
            read = self._group(path, group, wanted)
            for n in members:  # not take(): it would load the library's compute functions first
                found.append({name: read[name].value(name, n - file.firsts[group]) for name in wanted})
        return found

    def _group(self, path: Path, group: int, wanted: list[str]) -> dict:
        """Columns of a row group, these at least; the last groups are kept, for rows that belong together stand together."""
        key = path, group
        if key not in self._groups:
            if len(self._groups) >= KEPT:
                del self._groups[next(iter(self._groups))]
            self._groups[key] = {}
        read = self._groups[key]
        if missing := [name for name in wanted if name not in read]:
            read |= dict.fromkeys(missing, _Begun(path, self._file(path).parquet, group, missing))
        return read


class _File:
    """An open file with its columns and, as far as rows were asked for, the first row of each row group."""

    def __init__(self, path: Path):
        import pyarrow.parquet as pq

        self.parquet = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
        self._metadata = self.parquet.metadata
        self.names = self.parquet.schema_arrow.names
        self.firsts = [0]  # and the first row after those

    def group_of(self, row: int) -> int | None:
        """The row group that holds a row; None after the last row."""
        while row >= self.firsts[-1]:
            if len(self.firsts) > self._metadata.num_row_groups:
                return None
            self.firsts.append(self.firsts[-1] + self._metadata.row_group(len(self.firsts) - 1).num_rows)
        return bisect_right(self.firsts, row) - 1


class _Begun:
    """Columns of a row group, decoded from its first row on, as far as they were asked for."""

    def __init__(self, path: Path, file, group: int, columns: list[str]):
        self._path, self._read, self._ends = path, [], [0]
        self._rest = file.iter_batches(AHEAD, row_groups=[group], columns=columns, use_threads=False)

    def value(self, column: str, row: int):
        """One value; `row` counts from the first one of the group."""
        while row >= self._ends[-1]:
            with _named(self._path):
                batch = next(self._rest, None)
            if batch is None:  # an earlier try has failed
                raise ArtifactError(f"{self._path} ends before row {row} of a row group; {REBUILD}")
            self._read.append(batch)
            self._ends.append(self._ends[-1] + len(self._read[-1]))
        at = bisect_right(self._ends, row) - 1
        return self._read[at][column][row - self._ends[at]].as_py()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the library as one that names the file and the remedy."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:  # a damaged page is an OSError
        raise ArtifactError(f"{path} cannot be read ({error}); {REBUILD}") from None
