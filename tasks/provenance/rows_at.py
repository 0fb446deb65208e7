"""Rows of Parquet files by their numbers: only the row groups that hold them are read, a column at a time and no further."""

import contextlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path

from tasks.provenance.artifacts import REBUILD, ArtifactError

KEPT = 8  # row groups in memory
AHEAD = 1024  # rows of a row group decoded at a time
REPEATED = frozenset(  # columns of few values: a dictionary is decoded, not a text for each row
    ("row_id", "stage", "rule", "source", "domain", "split", "language", "licence", "model", "engine", "settings")
    + ("finish", "status", "method", "verifier", "scope", "kind")
)


class Files:
    """Parquet files kept open; their metadata are read once. ArtifactError where one is missing or cannot be read."""

    def __init__(self):
        self._open: dict[Path, tuple] = {}
        self._groups: dict[tuple, dict] = {}

    def _file(self, path: Path) -> tuple:
        """(file, its columns, number of the first row of each row group)."""
        import pyarrow.parquet as pq

        if path not in self._open:
            with _named(path):
                metadata = pq.read_metadata(path, memory_map=True)
                names = metadata.schema.to_arrow_schema().names
                repeated = [name for name in names if name in REPEATED]
                file = pq.ParquetFile(
                    path, metadata=metadata, memory_map=True, pre_buffer=False, read_dictionary=repeated
                )
            sizes = (metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
            self._open[path] = file, names, list(accumulate(sizes, initial=0))
        return self._open[path]

    def rows(self, path: Path, numbers: Iterable[int], columns: Sequence[str] | None = None) -> list[dict]:
        """Rows by number, ascending, with these columns; by default all."""
        _, names, firsts = self._file(path)
        wanted = [name for name in names if name in columns] if columns else names
        found = []
        for group, members in groupby(sorted(set(numbers)), lambda n: bisect_right(firsts, n) - 1):
            if group >= len(firsts) - 1:
                raise ArtifactError(f"{path} has fewer rows than what its manifest vouches for; {REBUILD}")
            read = self._group(path, group, wanted)
            for n in members:  # not take(): it would load the library's compute functions first
                found.append({name: read[name].value(name, n - firsts[group]) for name in wanted})
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
            read |= dict.fromkeys(missing, _Begun(path, self._file(path)[0], group, missing))
        return read


class _Begun:
    """Columns of a row group, decoded from its first row on, as far as they were asked for."""

    def __init__(self, path: Path, file, group: int, columns: list[str]):
        self._path, self._read, self._ends = path, [], [0]
        self._rest = file.iter_batches(AHEAD, row_groups=[group], columns=columns, use_threads=False)

    def value(self, column: str, row: int):
        """One value; `row` counts from the first one of the group."""
        while row >= self._ends[-1]:
            with _named(self._path):
                self._read.append(next(self._rest))
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
