"""The result of a run as files: every decision, what came of each candidate, the kept rows; and the story of one row.

Everything is in the order of ids and written in row groups that the data alone decide, so the bytes depend on neither
workers nor shards, and one id is found through the groups' smallest and largest values. Texts are never sorted: kept
rows are gathered shard by shard into runs, and a range of ids at a time is put together from all runs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.curation.funnel import Counts
from tasks.curation.inputs import Shard
from tasks.curation.place import writing
from tasks.curation.shards import batches
from tasks.execution import unique
from tasks.rows import DECISION, row_id

STEPS = ("filters", "decontamination", "deduplication", "selection")
GROUP = 4096  # candidates of a row group: one is read for the story of a row
RANGE = 16 * GROUP  # candidates asked of the database at a time
KEPT_ROWS, KEPT_BYTES = 2048, 64 << 20  # of a row group of kept.parquet, whichever comes first
BUCKET_BYTES = 128 << 20  # of kept texts put together at a time
RUN_BYTES = 192 << 20  # of kept rows of a shard sorted at a time
OUTCOME = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("kept", pa.bool_()),
        ("stage", pa.string()),  # of the first reason; null where the row is kept
        ("rule", pa.string()),
    ]
)
NEAR = pa.schema(
    [
        ("id", pa.string()),
        ("kept_id", pa.string()),
        ("jaccard", pa.float64()),  # 1.0 for equal texts
        ("scope", pa.string()),
        ("kind", pa.string()),
    ]
)


class _Table:
    """A Parquet file written one row group at a time."""

    def __init__(self, path: Path, schema: pa.Schema):
        import pyarrow.parquet as pq

        self.path = path
        with writing(path):
            self._writer = pq.ParquetWriter(
                path, schema, compression="zstd", store_schema=False, write_page_checksum=True,
                dictionary_pagesize_limit=16 << 20,
            )  # fmt: skip

    def __enter__(self) -> "_Table":
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        with writing(self.path):
            self._writer.close()

    def group(self, table: pa.Table) -> None:
        with writing(self.path):
            self._writer.write_table(table, row_group_size=max(1, len(table)))


def write_decisions(
    con, steps: Sequence[str], malformed: Sequence[dict], folder: Path, counts: Counts, progress: Callable[[int], None]
) -> None:
    """decisions.parquet and outcomes.parquet: all rules of all `steps` for every candidate, then the malformed rows."""
    total = con.execute("SELECT count(*) FROM measured").fetchall()[0][0]
    encoded = pa.schema(
        [
            f.with_type(pa.dictionary(pa.int32(), f.type)) if f.name in ("row_id", "stage", "rule") else f
            for f in DECISION
        ]
    )
    with (
        _Table(folder / "decisions.parquet", encoded) as decisions,
        _Table(folder / "outcomes.parquet", OUTCOME) as outcomes,
    ):
        for start in range(0, total, RANGE):
            found = con.sql(_side_by_side(steps), params=[start, start + RANGE]).to_arrow_table().combine_chunks()
            for first in range(0, len(found), GROUP):
                group = found.slice(first, GROUP).combine_chunks()
                flat = _Flat(group, steps)
                decisions.group(flat.decisions(encoded))
                outcomes.group(flat.outcomes(counts))
            progress(min(total, start + RANGE))
        rejected = sorted(malformed, key=lambda bad: (bad["name"], bad["sha256"], bad.get("line", bad.get("row"))))
        for first in range(0, len(rejected), GROUP):
            group = [_malformed(bad) for bad in rejected[first : first + GROUP]]
            decisions.group(pa.Table.from_pylist(group, schema=DECISION).cast(encoded))
            lost = [{"id": d["row_id"], "kept": False, "stage": d["stage"], "rule": d["rule"]} for d in group]
            outcomes.group(pa.Table.from_pylist(lost, schema=OUTCOME))
    counts.malformed(len(malformed))


def _side_by_side(steps: Sequence[str]) -> str:
    """Decisions of a range of rows, a column of lists for each step; the names are ours."""
    lists = "".join(f", {step}.decisions AS {step}" for step in steps)
    joins = "".join(
        f" LEFT JOIN {step} ON {step}.row = m.row AND {step}.row >= $1 AND {step}.row < $2" for step in steps
    )
    return (
        f"SELECT m.id, m.prompt_id, m.passes{lists} FROM measured m{joins} "
        "WHERE m.row >= $1 AND m.row < $2 ORDER BY m.row"
    )


def _malformed(bad: dict) -> dict:
    place = bad.get("line", bad.get("row"))
    where = f"{bad['name']}:{place}" if "line" in bad else f"{bad['name']} row {place}"
    return {
        "row_id": row_id("malformed", sha256=bad["sha256"], place=place), "stage": "input", "rule": "malformed",
        "value": 1.0, "threshold": 0.0, "keep": False, "evidence": f"{where}: {bad['reason']}",
    }  # fmt: skip


class _Flat:
    """The lists of some candidates as one long table: a row of equally many decisions for each candidate."""

    def __init__(self, group: pa.Table, steps: Sequence[str]):
        self.group, self.steps = group, steps
        lists = [_one(group[step]) for step in steps]
        lengths = [_length(step, column) for step, column in zip(steps, lists)]
        ends = np.cumsum([n * len(group) for n in lengths])
        places = [  # of each candidate's decisions in the lists laid end to end
            end - n * len(group) + np.arange(n * len(group)).reshape(len(group), n) for n, end in zip(lengths, ends)
        ]
        order = pa.array(np.hstack(places).ravel())
        values = [column.flatten() for column in lists]
        names = [name for name in DECISION.names if name not in ("row_id", "stage")]
        self.fields = {name: pa.concat_arrays([v.field(name) for v in values]).take(order) for name in names}
        self.step = np.repeat(np.arange(len(steps), dtype=np.int32), lengths)  # of each of a candidate's decisions

    def decisions(self, schema: pa.Schema) -> pa.Table:
        rows = np.repeat(np.arange(len(self.group), dtype=np.int32), len(self.step))
        stages = pa.array(np.tile(self.step, len(self.group)))
        columns = self.fields | {
            "row_id": pa.DictionaryArray.from_arrays(pa.array(rows), _one(self.group["id"])),
            "stage": pa.DictionaryArray.from_arrays(stages, pa.array(self.steps, pa.string())),
            "rule": self.fields["rule"].dictionary_encode(),
        }
        return pa.table([columns[name] for name in schema.names], schema=schema)

    def outcomes(self, counts: Counts) -> pa.Table:
        """What came of each candidate, by its first failing decision; counted on the way."""
        width = len(self.step)
        rules = self.fields["rule"][:width].to_pylist()
        failed = ~self.fields["keep"].to_numpy(zero_copy_only=False).reshape(len(self.group), width)
        first = np.where(failed.any(axis=1), failed.argmax(axis=1) if width else 0, -1)
        if ((first < 0) != _one(self.group["passes"]).to_numpy(zero_copy_only=False)).any():
            raise AssertionError("candidates pass by one count and fail by the other")
        counts.add([self.steps[i] for i in self.step], rules, failed, first)
        reason = pa.array(first, mask=first < 0)
        stages = pa.array(self.steps, pa.string()).take(pa.array(self.step)).take(reason)
        columns = [self.group["id"], self.group["prompt_id"], pa.array(first < 0), stages]
        columns.append(pa.array(rules, pa.string()).take(reason))
        return pa.table(columns, schema=OUTCOME)


def _length(step: str, column: pa.Array) -> int:
    """Decisions of a step for each candidate, which must be the same for all."""
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) != 1 or lengths[0] is None:
        raise AssertionError(f"{step} decided {lengths} rules for different candidates, not the same for all")
    return lengths[0]


def _one(column: pa.ChunkedArray) -> pa.Array:
    return (
        column.combine_chunks() if isinstance(column, pa.ChunkedArray) and column.num_chunks != 1 else column.chunk(0)
    )


def write_prompts(con, folder: Path) -> None:
    """prompts.parquet: the rows of outcomes.parquet by prompt_id, then id, to find siblings."""
    found = con.sql(
        "SELECT * FROM read_parquet($file) WHERE prompt_id IS NOT NULL ORDER BY prompt_id, id",
        params={"file": str(folder / "outcomes.parquet")},
    ).to_arrow_table()
    with _Table(folder / "prompts.parquet", OUTCOME) as table:
        for first in range(0, len(found), GROUP):
            table.group(found.slice(first, GROUP).cast(OUTCOME))


def write_near_duplicates(con, folder: Path) -> int:
    """near_duplicates.parquet, in the order of ids; empty where nothing was deduplicated."""
    present = "duplicates" in {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    with _Table(folder / "near_duplicates.parquet", NEAR) as table:
        if not present:
            return 0
        found = con.sql(
            "SELECT m.id, k.id AS kept_id, d.jaccard::DOUBLE AS jaccard, d.scope, d.kind FROM duplicates d "
            "JOIN measured m ON m.row = d.row JOIN measured k ON k.row = d.kept_row "
            "ORDER BY d.row, d.kept_row, d.scope, d.kind"
        ).to_arrow_table()
        for first in range(0, len(found), 8 * GROUP):
            table.group(found.slice(first, 8 * GROUP).cast(NEAR))
        return len(found)


@dataclass(frozen=True)
class Kept:
    """The kept rows of one shard: `positions` in it, ascending, and the `rows` they are."""

    positions: np.ndarray
    rows: np.ndarray


def kept_rows(con) -> dict[str, np.ndarray]:
    """shard, position, row, bytes of the rows that pass, in the order of shards."""
    return con.sql(
        "SELECT shard, position, row, bytes FROM measured WHERE passes ORDER BY shard, position"
    ).fetchnumpy()


def write_kept(
    found: dict[str, np.ndarray], shards: Sequence[Shard], schema: pa.Schema, runs: Path, folder: Path, run: Callable,
    progress: Callable[[int, int], None],
) -> None:  # fmt: skip
    """kept.parquet: all columns of the rows of `kept_rows`, in the order of ids; `runs` is a folder to work in."""
    groups, buckets = _layout(found["row"], found["bytes"])
    cuts = np.searchsorted(found["shard"], np.arange(len(shards) + 1))
    parts = [Kept(found["position"][a:b], found["row"][a:b]) for a, b in zip(cuts, cuts[1:])]
    jobs = [(shard, part) for shard, part in zip(shards, parts, strict=True) if len(part.rows)]
    runs.mkdir(parents=True, exist_ok=True)
    edges = np.array([rows[0] for rows in buckets] + [np.iinfo(np.int32).max], np.int32)
    columns = [[j[0] for j in jobs], [j[1] for j in jobs], [schema] * len(jobs), [edges] * len(jobs)]
    columns.append([runs / f"{i:06}" for i in range(len(jobs))])
    files = []
    for i, made in enumerate(run(gather, *columns)):
        files += made
        progress(i + 1, len(jobs) + len(buckets))
    with _Table(folder / "kept.parquet", schema) as table:
        for i, bucket in enumerate(_buckets(files, len(buckets))):
            for rows in groups[i]:
                table.group(bucket.slice(rows[0], rows[1] - rows[0]))
            progress(len(jobs) + i + 1, len(jobs) + len(buckets))


def _layout(rows: np.ndarray, sizes: np.ndarray) -> tuple[list, list]:
    """Row groups of each bucket, as [start, stop) within it, and the rows (first, last) of each bucket."""
    order = np.argsort(rows)
    rows, sums = rows[order], np.concatenate([[0], np.cumsum(sizes[order])])
    groups, buckets, start, begin = [], [], 0, 0
    while start < len(rows):
        stop = int(np.searchsorted(sums, sums[start] + KEPT_BYTES, side="right")) - 1
        stop = min(max(stop, start + 1), start + KEPT_ROWS, len(rows))
        if not groups or sums[stop] - sums[begin] > BUCKET_BYTES:
            begin = start
            groups.append([])
            buckets.append([rows[start], None])
        groups[-1].append((start - begin, stop - begin))
        buckets[-1][1] = rows[stop - 1]
        start = stop
    return groups, buckets


def gather(shard: Shard, kept: Kept, schema: pa.Schema, edges: np.ndarray, path: Path) -> list[Path]:
    """Files of the kept rows of a shard, sorted by row, a batch for each bucket: rows [edges[i], edges[i+1])."""
    made, held, size = [], [], 0
    for start, batch in batches(shard, None, kept.positions):
        a, b = np.searchsorted(kept.positions, [start, start + batch.num_rows])
        if a == b:
            continue
        taken = _as(batch.take(pa.array(kept.positions[a:b] - start)), schema)
        held.append((taken, kept.rows[a:b]))
        size += taken.nbytes
        if size >= RUN_BYTES:
            made.append(_run(held, edges, path.with_name(f"{path.name}-{len(made)}.arrow")))
            held, size = [], 0
    return [*made, _run(held, edges, path.with_name(f"{path.name}-{len(made)}.arrow"))] if held else made


def _as(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """The columns of kept.parquet; what this file lacks is null."""
    columns = [
        batch[f.name].cast(f.type) if f.name in batch.schema.names else pa.nulls(len(batch), f.type) for f in schema
    ]
    return pa.table(columns, schema=schema)


def _run(held: list[tuple[pa.Table, np.ndarray]], edges: np.ndarray, path: Path) -> Path:
    rows = np.concatenate([r for _, r in held])
    order = np.argsort(rows)
    table = (
        pa.concat_tables([t for t, _ in held])
        .take(pa.array(order))
        .append_column("row", pa.array(rows[order], pa.int32()))
    )
    cuts = np.searchsorted(rows[order], edges)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    temporary = unique(path)
    with writing(temporary), pa.ipc.new_file(str(temporary), table.schema, options=options) as writer:
        for a, b in zip(cuts, cuts[1:]):
            writer.write_batch(
                table.slice(a, b - a).combine_chunks().to_batches()[0] if b > a else _empty(table.schema)
            )
    return temporary.rename(path)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def _buckets(files: Sequence[Path], count: int) -> Iterator[pa.Table]:
    """Bucket by bucket the rows of all runs, sorted; the next is read while one is written."""
    from concurrent.futures import ThreadPoolExecutor

    readers = [pa.ipc.open_file(pa.OSFile(str(file))) for file in files]  # mapped, their pages would count as ours

    def read(number: int) -> pa.Table:
        table = pa.Table.from_batches([reader.get_batch(number) for reader in readers])
        last = table.num_columns - 1  # by place: a column of the candidates may have any name
        return table.select(list(range(last))).take(pc.sort_indices(table.column(last))).combine_chunks()

    with ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(read, 0) if count else None
        for number in range(count):
            bucket = following.result()
            following = ahead.submit(read, number + 1) if number + 1 < count else None
            yield bucket
