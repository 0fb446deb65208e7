"""Rows of Parquet files by their numbers: only the row groups that hold them are read, a column at a time."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, groupby
from pathlib import Path


class Files:
    """Parquet files kept open; their metadata are read once."""

    def __init__(self):
        self._open: dict[Path, tuple] = {}

    def _file(self, path: Path) -> tuple:
        """(file, number of the first row of each row group)."""
        import pyarrow.parquet as pq

        if path not in self._open:
            file = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
            sizes = (file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))
            self._open[path] = file, list(accumulate(sizes, initial=0))
        return self._open[path]

    def rows(self, path: Path, numbers: Iterable[int], columns: Sequence[str] | None = None) -> list[dict]:
        """Rows by number, ascending, with these columns; by default all."""
        import pyarrow as pa

        file, firsts = self._file(path)
        found = []
        for group, members in groupby(sorted(set(numbers)), lambda n: bisect_right(firsts, n) - 1):
            table = file.read_row_group(group, columns=columns, use_threads=False)
            places = pa.array([n - firsts[group] for n in members], pa.int64())
            found += table.take(places).to_pylist()
        return found
