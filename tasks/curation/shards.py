"""One pass over the texts of a shard: what every rule needs to know of a candidate by itself, and no text.

`process_shard(shard, scan, out) -> path` is a function of its arguments, so the same one runs in a process pool or on a
cluster; a file that is there is not made again. Thresholds are not known here: SQL decides (filters.sql).
"""

import dataclasses
import functools
import hashlib
import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.curation.columns import LINE, OPTIONAL, REQUIRED
from tasks.curation.errors import CurationError
from tasks.curation.inputs import Shard, opened
from tasks.curation.kernel import Spec, measure
from tasks.curation.openings import openings_of
from tasks.curation.place import writing
from tasks.curation.policy import Decontamination
from tasks.execution import unique
from tasks.responses import scripts_of

BATCH_BYTES = 32 << 20  # of uncompressed columns decoded at a time
BATCH_ROWS = 8192
WORDS = ("latin", "han", "kana", "hangul", "cyrillic", "greek", "arabic", "devanagari", "bengali")
CODE = ("shards.py", "inputs.py", "columns.py", "openings.py", "kernel/*.py", "contamination*.py", "../responses.py")


@dataclass(frozen=True)
class Scan:
    """What is measured: the part of a policy, and of the code, that decides what a shard's file holds."""

    spec: Spec
    openings: tuple[str, ...] = ()
    named: tuple[tuple[str, str], ...] = ()  # (column that the policy's selection names, Arrow type it is read as)
    decontamination: Decontamination = Decontamination()
    benchmarks: Path | None = None  # folder with the hashes of the evaluation sets' problems
    benchmarks_sha: str = ""

    def key(self, shard: Shard) -> str:
        """Name of the file: another content, column or measure, another name."""
        against = (
            [self.decontamination.model_dump_json(exclude={"against"}), self.benchmarks_sha]
            if self.benchmarks
            else None
        )
        what = [dataclasses.asdict(self.spec), self.openings, self.named, against, _code()]
        here = [shard.sha256, shard.groups, shard.columns, shard.lines, what]
        return hashlib.sha256(json.dumps(here, sort_keys=True).encode()).hexdigest()[:32]


def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(p for pattern in CODE for p in Path(__file__).parent.glob(pattern)):
        digest.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def process_shard(shard: Shard, scan: Scan, out: Path) -> Path:
    """Write `out/<key>.parquet`: a row for each well-formed row of the shard, the malformed ones in its metadata."""
    import pyarrow.parquet as pq

    path = out / f"{scan.key(shard)}.parquet"
    if path.is_file():
        return path
    temporary = unique(path)
    malformed, writer = [], None
    with writing(temporary):
        try:
            for start, batch in batches(shard, (*REQUIRED, *OPTIONAL, *dict(scan.named))):
                rows, bad = _well_formed(shard, start, batch)
                malformed += bad
                measured = _measured(rows, scan)
                writer = writer or pq.ParquetWriter(temporary, measured.schema, compression="zstd", compression_level=1)
                writer.write_batch(measured)
            writer.add_key_value_metadata({"malformed": json.dumps(malformed)})
        finally:
            if writer:
                writer.close()
    temporary.rename(path)
    return path


def malformed_rows(path: Path) -> list[dict]:
    """Rows that a shard's file left out: {sha256, origin, name, line | row, reason}."""
    import pyarrow.parquet as pq

    return json.loads(pq.read_metadata(path).metadata[b"malformed"])


def batches(
    shard: Shard, names: Sequence[str] | None, wanted: np.ndarray | None = None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(position of its first row, columns by their names here) in the order of the shard; `names` None: all columns.

    A batch has at most BATCH_ROWS rows and about BATCH_BYTES. OPTIONAL columns that the shard lacks are left out, and
    so are row groups without a position of `wanted` (ascending).
    """
    file = opened(shard.path)
    columns = {name: theirs for name, theirs in shard.columns if names is None or name in names}
    columns |= {name: name for name in shard.extra if names is None or name in names}
    columns |= {LINE: LINE} if shard.lines else {}
    read = list(dict.fromkeys(columns.values()))
    position = 0
    for group in range(*shard.groups):
        meta = file.metadata.row_group(group)
        first, position = position, position + meta.num_rows
        if wanted is not None and not np.diff(np.searchsorted(wanted, [first, position]))[0]:
            continue
        size = max(1, min(BATCH_ROWS, BATCH_BYTES * meta.num_rows // max(1, meta.total_byte_size)))
        try:
            for batch in file.iter_batches(size, row_groups=[group], columns=read, use_threads=False):
                arrays = dict(zip(batch.schema.names, map(_decoded, batch.columns)))
                yield first, pa.RecordBatch.from_pydict({name: arrays[theirs] for name, theirs in columns.items()})
                first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            if getattr(error, "errno", None):
                raise
            raise CurationError(
                f"{shard.origin}: damaged Parquet in row {shard.first + first:,} or after "
                f"({str(error).splitlines()[0]}); fetch the file again"
            ) from None


def _decoded(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.large_string()) if pa.types.is_string_view(array.type) else array


def _well_formed(shard: Shard, start: int, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[dict]]:
    """The rows that are candidates, with their `position` in the shard, and the others with place and reason."""
    faults: dict[int, str] = {}
    for name in batch.schema.names:
        array = batch[name]
        if name in REQUIRED and array.null_count:
            for i in np.flatnonzero(pc.is_null(array).to_numpy(zero_copy_only=False)):
                faults.setdefault(int(i), f"{name} is missing or null")
        for i in _invalid(array):
            faults.setdefault(i, f"{name} is no UTF-8")
    batch = batch.append_column("position", pa.array(np.arange(start, start + batch.num_rows, dtype=np.int32)))
    if not faults:
        return batch, []
    common = {"sha256": shard.sha256, "origin": shard.origin, "name": shard.name}
    lines = batch[LINE].to_pylist() if shard.lines else None
    bad = [
        common | ({"line": lines[i]} if lines else {"row": shard.first + start + i}) | {"reason": faults[i]}
        for i in sorted(faults)
    ]
    good = np.ones(batch.num_rows, bool)
    good[list(faults)] = False
    return batch.filter(pa.array(good)), bad


def _invalid(array: pa.Array) -> list[int]:
    """Rows of a text column that are no UTF-8; the reader does not look."""
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return []
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return [0]
        half = len(array) // 2
        return _invalid(array[:half]) + [half + i for i in _invalid(array[half:])]
    return []


def _measured(rows: pa.RecordBatch, scan: Scan) -> pa.RecordBatch:
    text, problems = rows["text"], _benchmarks(scan.benchmarks) if scan.benchmarks else None
    measures = measure(text, scan.spec, problems.text_index(scan.decontamination) if problems else None)
    columns = {name: rows[name].cast(pa.string()) for name in ("id", "prompt_id")}
    for name in OPTIONAL:
        kind = pa.int64() if name == "index" else pa.string()
        columns[name] = rows[name].cast(kind) if name in rows.schema.names else pa.nulls(len(rows), kind)
    columns["language"] = columns["language"].fill_null("en")
    columns["position"] = rows["position"]
    columns["line"] = rows[LINE] if LINE in rows.schema.names else pa.nulls(len(rows), pa.int64())
    columns |= dict(zip(measures.schema.names, measures.columns, strict=True))
    columns["words"], columns["language_share"] = _language(columns)
    columns["opening"] = openings_of(text, columns["think_close"], scan.openings)
    if problems:
        from tasks.curation.contamination import prompt_decisions, text_decisions

        columns["prompt_findings"] = prompt_decisions(rows["prompt"], problems, scan.decontamination)
        columns["text_findings"] = text_decisions(measures, problems, scan.decontamination)
    columns = {k: v for k, v in columns.items() if not k.startswith(("words_", "gram_"))}
    for name, alias in scan.named:  # in every shard of a run, and of one type: tables of shards are read together
        kind = pa.type_for_alias(alias)
        columns[name] = rows[name].cast(kind, safe=False) if name in rows.schema.names else pa.nulls(len(rows), kind)
    return pa.RecordBatch.from_pydict(columns)


@functools.lru_cache(1)
def _benchmarks(folder: Path):
    """The problems of the evaluation sets, with what is made of them; once in a process."""
    from tasks.curation.contamination import Benchmarks

    return Benchmarks.load(folder)


def _language(columns: dict[str, pa.Array]) -> tuple[pa.Array, pa.Array]:
    """(words, share of those in a script of the target language); null where there are none, or no script is known."""
    counts = {name: columns[f"words_{name}"].to_numpy() for name in (*WORDS, "other")}
    total = np.sum(list(counts.values()), axis=0, dtype=float)
    wanted = np.full(len(total), np.nan)
    languages = columns["language"].dictionary_encode()
    codes = languages.indices.to_numpy()
    for code, language in enumerate(languages.dictionary.to_pylist()):
        try:
            scripts = {s.lower() if s.lower() in WORDS else "other" for s in scripts_of(language)}
        except ValueError:
            continue
        here = codes == code
        wanted[here] = np.sum([counts[s][here] for s in sorted(scripts)], axis=0)
    share = np.divide(wanted, total, out=np.full(len(total), np.nan), where=total > 0)
    return pa.array(total), pa.array(share, mask=np.isnan(share))


class Texts:
    """Texts of rows by their number, read from the shards as they are asked for.

    `shard` and `position` (int32[rows]) say where each row stands.
    """

    def __init__(self, shards: Sequence[Shard], shard: np.ndarray, position: np.ndarray, threads: int):
        self.shards, self.shard, self.position, self.threads = shards, shard, position, threads

    def __call__(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, pa.Array]]:
        """(rows, texts) in the order of shards and of positions in them; a few shards are read ahead."""
        rows = np.asarray(rows)
        rows = rows[np.lexsort((self.position[rows], self.shard[rows]))]
        numbers, starts = np.unique(self.shard[rows], return_index=True)
        jobs = deque(zip(numbers.tolist(), np.split(rows, starts[1:])))
        reading: deque = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            while jobs or reading:
                while jobs and len(reading) <= self.threads:
                    reading.append(pool.submit(lambda job: list(self._read(*job)), jobs.popleft()))
                yield from reading.popleft().result()

    def _read(self, number: int, rows: np.ndarray) -> Iterator[tuple[np.ndarray, pa.Array]]:
        wanted = self.position[rows]
        for start, batch in batches(self.shards[number], ("text",), wanted):
            a, b = np.searchsorted(wanted, [start, start + batch.num_rows])
            if b > a:
                yield rows[a:b], batch["text"].take(pa.array(wanted[a:b] - start))
