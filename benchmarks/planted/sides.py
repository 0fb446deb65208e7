"""The sides of benchmarks/near_duplicates.py: one function each, from Parquet files to the ids of removed rows.

A side runs in a process of its own, the peers with the Python of `.venv-peers`; `start` is called when its libraries
are loaded and warm, and the clock runs from there.
"""

import json
import os
import resource
import tempfile
import time
from pathlib import Path

THRESHOLD, SHINGLE, PERMUTATIONS, BANDS = 0.8, 5, 128, 16


def ours(
    files: list[Path],
    workers: int,
    start,
    bands: tuple[int, int] = (BANDS, PERMUTATIONS // BANDS),
    again: bool = False,
) -> list[str]:
    """The kernel over Arrow batches, then tasks.curation.near_duplicates; texts stay in memory unless read `again`."""
    from concurrent.futures import ThreadPoolExecutor

    import duckdb
    import pyarrow as pa

    from tasks.curation.kernel import Spec, sketch
    from tasks.curation.policy import Deduplication

    spec = Spec(SHINGLE, PERMUTATIONS, *bands)
    policy = Deduplication(
        shingle=SHINGLE, permutations=PERMUTATIONS, within_prompt=THRESHOLD, across_prompts=THRESHOLD
    )
    columns = ("id", "prompt_id", "index")
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(workers) as pool:
        warm = pa.table({"id": ["a", "b"], "prompt_id": ["p", "p"], "index": pa.array([0, 1], pa.int32())})
        said = pa.chunked_array([["one two three four five six seven eight"] * 2])
        _deduplicated(
            duckdb.connect(),
            [(warm, sketch(said.chunk(0), spec))],
            lambda r: [(r, said.chunk(0).take(r))],
            policy,
            work,
        )
        start()
        groups = [(file, g) for file in files for g in range(_parquet(file).num_row_groups)]

        def one(job):
            table = _parquet(job[0]).read_row_group(job[1], columns=[*columns, "text"], use_threads=False)
            text = table["text"].combine_chunks()
            return table.select(columns), sketch(text, spec), None if again else text

        *measured, held = zip(*pool.map(one, groups))
        with duckdb.connect(config={"threads": workers}) as con:
            read = (lambda number: _text(groups[number])) if again else held.__getitem__
            return _deduplicated(con, list(zip(*measured)), _texts(read, con), policy, work)


def ours_wide(files: list[Path], workers: int, start) -> list[str]:
    """The bands that a policy gets for this threshold."""
    from tasks.curation.kernel import banding

    return ours(files, workers, start, banding(THRESHOLD, PERMUTATIONS))


def ours_again(files: list[Path], workers: int, start) -> list[str]:
    """As `curate` does it, in bounded memory: texts with candidates are read a second time for the exact check."""
    return ours(files, workers, start, again=True)


def ours_alone(files: list[Path], workers: int, start) -> list[str]:
    """With one worker, as the peers: two that share a core take more CPU-seconds each."""
    return ours(files, 1, start)


def ours_again_alone(files: list[Path], workers: int, start) -> list[str]:
    return ours(files, 1, start, again=True)


def _parquet(file: Path):
    import pyarrow.parquet as pq

    return pq.ParquetFile(file)


def _deduplicated(con, measured: list, texts, policy, work: str) -> list[str]:
    """Tables of measures, in the order of ids as a run of `curate` has them, to removed ids."""
    import pyarrow as pa

    from tasks.curation.near_duplicates import deduplicate

    needed, parts = ("chars", "exact", "normal", "bands", "shingles"), []
    for number, (rows, measures) in enumerate(measured):
        place = pa.array(range(number << 32, (number << 32) + len(rows)))
        parts.append(
            pa.table({n: rows[n] for n in rows.schema.names} | {n: measures[n] for n in needed} | {"place": place})
        )
    con.register("source", pa.concat_tables(parts))
    con.execute(
        "CREATE TABLE measured AS SELECT (row_number() OVER () - 1)::INTEGER AS row, *, true AS passes "
        "FROM (FROM source ORDER BY id)"
    )
    deduplicate(con, policy, texts, Path(work))
    removed = con.execute("SELECT DISTINCT id FROM duplicates JOIN measured USING (row)").fetchall()
    return [key for (key,) in removed]


def _text(group: tuple[Path, int]):
    return _parquet(group[0]).read_row_group(group[1], columns=["text"])["text"].combine_chunks()


def _texts(read, con):
    """texts(rows): what deduplicate asks for again, row group by row group; `read(number)` gives a group's texts."""
    import numpy as np
    import pyarrow as pa

    def stream(rows):
        place = con.execute("SELECT place FROM measured ORDER BY row").fetchnumpy()["place"][rows]
        order = np.argsort(place, kind="stable")
        for number in np.unique(place >> 32):
            here = order[(place[order] >> 32) == number]
            yield rows[here], read(number).take(pa.array(place[here] & 0xFFFFFFFF))

    return stream


def documents(files: list[Path]):
    """(ids, texts) batch by batch, as the peers' examples read Parquet."""
    for file in files:
        for batch in _parquet(file).iter_batches(1024, columns=["id", "text"]):
            yield batch["id"].to_pylist(), batch["text"].to_pylist()


def _shingles(text: str) -> list[str]:
    words = text.lower().split()
    return [" ".join(gram) for gram in zip(*(words[k:] for k in range(SHINGLE)))]


def rensa(files: list[Path], workers: int, start) -> list[str]:
    """Its README's way to keep unique documents; candidates are checked against the sketches' similarity."""
    from rensa import RMinHashDeduplicator

    start()
    index = RMinHashDeduplicator(THRESHOLD, PERMUTATIONS, True, BANDS)
    removed = []
    for ids, texts in documents(files):
        kept = index.add_pairs((key, _shingles(text)) for key, text in zip(ids, texts))
        removed += [key for key, keep in zip(ids, kept, strict=True) if not keep]
    return removed


def rensa_rho(files: list[Path], workers: int, start) -> list[str]:
    """Its fastest: sketches of sampled positions in whole batches, and flags for both rows of a pair in one pass."""
    from rensa import RMinHash, RMinHashLSH

    start()
    index, removed, seen = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=BANDS), [], 0
    for ids, texts in documents(files):
        matrix = RMinHash.digest_matrix_from_token_sets_rho([_shingles(t) for t in texts], PERMUTATIONS, 42)
        flags = index.insert_matrix_and_query_duplicate_flags(matrix, seen)
        removed += [key for key, flag in zip(ids, flags, strict=True) if flag]
        seen += len(ids)
    return removed


def datasketch(files: list[Path], workers: int, start) -> list[str]:
    from datasketch import MinHash, MinHashLSH

    start()
    index, removed = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, PERMUTATIONS // BANDS)), []
    for ids, texts in documents(files):
        for key, text in zip(ids, texts):
            sketch = MinHash(num_perm=PERMUTATIONS)
            sketch.update_batch([s.encode() for s in _shingles(text)])
            if index.query(sketch):
                removed.append(key)
            else:
                index.insert(key, sketch)
    return removed


class _Exact:
    """Shingles by our definition of a token, and the exact check of an index's candidates: what ours does, in Python."""

    def __init__(self):
        import re

        self._token = re.compile(r"[0-9a-z]+|[-+*/^=<>%!]|[^\x00-\x7f\s]").findall
        self._kept: list[set[str]] = []

    def shingles(self, text: str) -> set[str]:
        words = self._token(text.lower())
        return {" ".join(gram) for gram in zip(*(words[k:] for k in range(SHINGLE)))}

    def is_new(self, grams: set[str], candidates) -> bool:
        """Whether no kept text among the candidates is near; then it is kept, under the next number."""
        for place in candidates:
            other = self._kept[place]
            common = len(grams & other)
            if common >= THRESHOLD * (len(grams) + len(other) - common):
                return False
        self._kept.append(grams)
        return True


def rensa_exact(files: list[Path], workers: int, start) -> list[str]:
    """rensa's sketches and index for the result that ours gives: the same tokens, candidates checked exactly."""
    from rensa import RMinHash, RMinHashLSH

    start()
    exact, removed, seen = _Exact(), [], 0
    index = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=BANDS)
    for ids, texts in documents(files):
        sets = [exact.shingles(text) for text in texts]
        for key, grams, sketch in zip(ids, sets, RMinHash.from_token_sets(sets, PERMUTATIONS, 42)):
            if exact.is_new(grams, index.query(sketch)):
                index.insert(seen, sketch)
                seen += 1
            else:
                removed.append(key)
    return removed


def datasketch_exact(files: list[Path], workers: int, start) -> list[str]:
    """datasketch's sketches and index for the result that ours gives."""
    from datasketch import MinHash, MinHashLSH

    start()
    exact, removed, seen = _Exact(), [], 0
    index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, PERMUTATIONS // BANDS))
    for ids, texts in documents(files):
        for key, text in zip(ids, texts):
            grams, sketch = exact.shingles(text), MinHash(num_perm=PERMUTATIONS)
            sketch.update_batch([gram.encode() for gram in grams])
            if exact.is_new(grams, index.query(sketch)):
                index.insert(seen, sketch)
                seen += 1
            else:
                removed.append(key)
    return removed


def datatrove(files: list[Path], workers: int, start) -> list[str]:
    """Its four-stage pipeline up to the lists of removed documents, with words split at white space."""
    import struct

    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import ParquetReader

    class White:
        def word_tokenize(self, text):
            return text.split()

    config = MinhashConfig(n_grams=SHINGLE, num_buckets=BANDS, hashes_per_bucket=PERMUTATIONS // BANDS)
    with tempfile.TemporaryDirectory() as work:
        # a language whose tokenizer loads no spaCy as it is made; `White` takes its place
        signature = MinhashDedupSignature(f"{work}/signatures", config, language="chr_Cher")
        signature.word_tokenizer = White()
        reader = ParquetReader(str(files[0].parent), glob_pattern="part-*.parquet", text_key="text", id_key="id")
        buckets = MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)
        cluster = MinhashDedupCluster(f"{work}/buckets", f"{work}/removed", config=config)
        start()
        for n, (steps, tasks) in enumerate((([reader, signature], len(files)), ([buckets], BANDS), ([cluster], 1))):
            LocalPipelineExecutor(
                steps, tasks=tasks, workers=min(workers, tasks), logging_dir=f"{work}/logs{n}", start_method="fork"
            ).run()
        removed = []
        for file, listed in zip(files, [Path(work) / "removed" / f"{rank:06d}.remove" for rank in range(len(files))]):
            if listed.exists():
                ids = _parquet(file).read(columns=["id"])["id"].to_pylist()
                removed += [ids[place] for (place,) in struct.iter_unpack("<I", listed.read_bytes())]
    return removed


SIDES = {
    "ours": ours, "ours, one worker": ours_alone, "ours, texts read again": ours_again,
    "ours, read again, one worker": ours_again_alone, "ours, bands of a policy": ours_wide, "rensa": rensa,
    "rensa, rho": rensa_rho, "rensa, same result": rensa_exact, "datasketch": datasketch,
    "datasketch, same result": datasketch_exact, "datatrove": datatrove,
}  # fmt: skip


def run_side(name: str, folder: Path, workers: int, result: Path) -> None:
    """In the side's own process: its removed ids, seconds, CPU-seconds and peak memory to `result`."""
    import pyarrow.parquet  # noqa: F401, before any side's clock

    began = {}

    def start():
        began.update(wall=time.perf_counter(), cpu=_cpu())

    removed = SIDES[name](sorted(folder.glob("part-*.parquet")), workers, start)
    wall, cpu = time.perf_counter() - began["wall"], _cpu() - began["cpu"]
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    result.write_text(json.dumps({"removed": removed, "wall": wall, "cpu": cpu, "peak": peak * 1024}))


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
