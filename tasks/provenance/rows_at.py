"""Rows of Parquet files by their numbers: only the row groups that hold them are read, a column at a time."""

import contextlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path

from tasks.provenance.artifacts import REBUILD, ArtifactError

KEPT = 8  # row groups in memory


class Files:
    """Parquet files kept open; their metadata are read once. ArtifactError where one is missing or cannot be read."""

    def __init__(self):
        self._open: dict[Path, tuple] = {}
        self._groups: dict[tuple, object] = {}

    def _file(self, path: Path) -> tuple:
        """(file, number of the first row of each row group)."""
        import pyarrow.parquet as pq

        if path not in self._open:
            with _named(path):
                file = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
            sizes = (file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))
            self._open[path] = file, list(accumulate(sizes, initial=0))
        return self._open[path]

    def rows(self, path: Path, numbers: Iterable[int], columns: Sequence[str] | None = None) -> list[dict]:
        """Rows by number, ascending, with these columns; by default all."""
        _, firsts = self._file(path)
        found = []
        for group, members in groupby(sorted(set(numbers)), lambda n: bisect_right(firsts, n) - 1):
            if group >= len(firsts) - 1:
                raise ArtifactError(f"{path} has fewer rows than what its manifest vouches for; {REBUILD}")
            table = self._group(path, group, tuple(columns) if columns else None)
            for n in members:  # not take(): it would load the library's compute functions first
                found += table.slice(n - firsts[group], 1).to_pylist()
        return found

    def _group(self, path: Path, group: int, columns: tuple[str, ...] | None):
        """A row group; the last ones are kept, for rows that belong together stand together."""
        key = path, group, columns
        if key not in self._groups:
            if len(self._groups) >= KEPT:
                del self._groups[next(iter(self._groups))]
            with _named(path):
                self._groups[key] = self._file(path)[0].read_row_group(group, columns=columns, use_threads=False)
        return self._groups[key]


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the library as one that names the file and the remedy."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:  # a damaged page is an OSError
        raise ArtifactError(f"{path} cannot be read ({error}); {REBUILD}") from None
