"""Near duplicates side by side: ours, rensa, datasketch and datatrove, from Parquet to the list of removed rows.

    .venv/bin/python benchmarks/near_duplicates.py [--rows 8000] [--rounds 3] [--only "ours;rensa"]

Word 5-grams, 128 hashes, 16 bands of 8, threshold .8, the same Parquet files with planted duplicates. Each round runs
each side in a process of its own; the clock starts after imports and warm-up. The peers live in `.venv-peers`, which is
made with pip when it is missing; without it their part fails, and the exit status says so.

- recall: planted pairs of Jaccard >= .8 of which at least one row is removed;
- precision: removed rows that have a kept row of exact Jaccard >= .8, computed here in plain Python.

Ratios: of CPU-seconds to ours with one worker, as rensa and datasketch have, texts kept and read again; of wall time to
ours with `--workers` (which datatrove uses as well).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.planted.sides import PERMUTATIONS, SHINGLE, SIDES, THRESHOLD, documents, run_side  # noqa: E402

PEERS = ROOT / ".venv-peers"
PACKAGES = ("rensa", "datasketch", "datatrove", "regex", "tokenizers", "xxhash<4", "pyarrow")
FILES = 4  # the input is cut into, so that two workers have something to share


def peers() -> str | None:
    """The peers' Python, installed when it is missing; None, and why, where that does not work."""
    python = PEERS / "bin" / "python"
    check = "import rensa, datasketch, pyarrow, xxhash, datatrove.pipeline.dedup"
    if subprocess.run([python, "-c", check], capture_output=True).returncode if python.exists() else True:
        print(f"installing {', '.join(PACKAGES)} into {PEERS.name} …", flush=True)
        for command in ([sys.executable, "-m", "venv", PEERS], [python, "-m", "pip", "install", "-q", *PACKAGES]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"the peers could not be installed: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
                return None
    return str(python)


def prepare(folder: Path, rows: int) -> list[dict]:
    """Parquet files in `folder`, and the planted duplicates (id, of, value)."""
    import pyarrow.parquet as pq

    from benchmarks.candidates import generate

    generate(folder / "candidates", rows, seed=0)
    shards = sorted((folder / "candidates" / "shards").glob("*.parquet"))
    rows = sum(pq.read_metadata(s).num_rows for s in shards)
    each, writers, written = -(-rows // FILES), [], 0
    for shard in shards:
        for batch in pq.ParquetFile(shard).iter_batches(1000):
            if written // each >= len(writers):
                writers.append(
                    pq.ParquetWriter(folder / f"part-{len(writers)}.parquet", batch.schema, compression="zstd")
                )
            writers[-1].write_batch(batch)
            written += len(batch)
    for writer in writers:
        writer.close()
    truth = pq.read_table(folder / "candidates" / "truth.parquet").to_pylist()
    return [t for t in truth if t["kind"].endswith(("duplicate", "within", "across")) and t["kind"] != "clean"]


class Quality:
    """Recall and precision against the planted pairs; exact Jaccard in plain Python, within families."""

    def __init__(self, folder: Path, truth: list[dict]):
        from benchmarks.planted.vocabulary import tokens_of

        self.pairs = [(t["id"], t["of"]) for t in truth if t["value"] >= THRESHOLD]
        self.family: dict[str, set[str]] = {}
        for t in truth:
            self.family.setdefault(t["of"], {t["of"]}).add(t["id"])
        self.source = {member: of for of, members in self.family.items() for member in members}
        self.texts = {
            k: t
            for ids, texts in documents(sorted(folder.glob("part-*")))
            for k, t in zip(ids, texts)
            if k in self.source
        }
        self._tokens, self._grams = tokens_of, {}

    def grams(self, key: str) -> set:
        if key not in self._grams:
            tokens = self._tokens(self.texts[key])
            self._grams[key] = set(zip(*(tokens[k:] for k in range(SHINGLE))))
        return self._grams[key]

    def jaccard(self, a: str, b: str) -> float:
        return len(self.grams(a) & self.grams(b)) / len(self.grams(a) | self.grams(b))

    def of(self, removed: list[str]) -> tuple[float, float]:
        gone = set(removed)
        found = sum(a in gone or b in gone for a, b in self.pairs)
        right = 0
        for key in gone:
            kept = self.family.get(self.source.get(key), set()) - gone
            right += any(self.jaccard(key, other) >= THRESHOLD for other in kept)
        return found / len(self.pairs), right / max(1, len(gone))


def equal_to_oracle(folder: Path, most: int = 150) -> bool:
    """Whether the specification in plain SQL removes the same rows of a sample for the same reasons."""
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    import tasks.curation.near_duplicates as plane
    from benchmarks.planted.vocabulary import tokens_of
    from tasks.curation.kernel import Spec, banding, measure
    from tasks.curation.policy import Deduplication

    families = list(pq.read_table(folder / "candidates" / "truth.parquet", columns=["id", "of"]).to_pylist())
    wanted = sorted({k for t in families if t["of"] and t["of"].startswith("completion") for k in t.values()})[:most]
    table = (
        pq.read_table(sorted(folder.glob("part-*.parquet")), filters=[("id", "in", wanted)])
        .sort_by("id")
        .combine_chunks()
    )
    text = table["text"].combine_chunks()
    policy = Deduplication(within_prompt=THRESHOLD, across_prompts=THRESHOLD)
    measured = pa.Table.from_batches([measure(text, Spec(SHINGLE, PERMUTATIONS, *banding(THRESHOLD, PERMUTATIONS)))])
    for name in ("id", "prompt_id", "index"):
        measured = measured.append_column(name, table[name])
    grams = [
        (row, repr(g))
        for row, t in enumerate(text.to_pylist())
        for g in set(zip(*(tokens_of(t)[k:] for k in range(SHINGLE))))
    ]
    with duckdb.connect() as con, tempfile.TemporaryDirectory() as work:
        con.register("source", measured)
        con.register("listed", pa.table(dict(zip(("row", "gram"), map(list, zip(*grams))))))
        con.execute(
            "CREATE TABLE measured AS SELECT (row_number() OVER () - 1)::INTEGER AS row, *, true AS passes FROM source"
        )
        con.execute("CREATE TABLE grams AS SELECT row::INTEGER AS row, gram FROM listed")
        con.execute("CREATE TABLE links (row INTEGER, other INTEGER, similarity DOUBLE)")
        plane.deduplicate(con, policy, lambda rows: [(rows, text.take(pa.array(rows)))], Path(work))
        parameters = policy.model_dump() | {"across": True}
        oracle = Path(plane.__file__).with_name("near_duplicates_oracle.sql").read_text(encoding="utf-8")
        for statement in duckdb.extract_statements(oracle):
            con.execute(statement, {k: parameters[k] for k in statement.named_parameters})
        columns = "row, kept_row, round(jaccard, 9), scope, kind"
        expected, found = (
            con.execute(f"SELECT {columns} FROM {t} ORDER BY ALL").fetchall() for t in ("expected", "duplicates")
        )
    verdict = "the same as ours" if expected == found else "NOT the same as ours"
    print(f"SQL oracle on {len(table)} rows: {len(expected)} reasons, {verdict}")
    return expected == found


def features(folder: Path, rounds: int) -> None:
    """MB/s of one core for everything that the kernel measures, n-gram hits of a benchmark included, in one pass."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tasks.curation.kernel import GramIndex, Spec, measure

    lines = (folder / "candidates" / "benchmark.jsonl").read_text("utf-8").splitlines()
    problems = [json.loads(line)["text"] for line in lines]
    index = GramIndex.build(13, pa.array(problems), 10)
    text = pq.read_table(folder / "part-0.parquet", columns=["text"])["text"].combine_chunks()[:3000]
    megabytes, rates = text.nbytes / 1e6, []
    measure(text[:10], Spec(), index)
    for _ in range(rounds):
        begun = time.process_time()
        measure(text, Spec(), index)
        rates.append(megabytes / (time.process_time() - begun))
    print(f"all features in one pass: {statistics.median(rates):.0f} MB/s of one core ({megabytes:.0f} MB, in memory)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", help=f"sides, separated by ;, of {'; '.join(SIDES)}")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        return run_side(options.side, options.folder, options.workers, options.folder / "result.json")
    python = peers()
    names = options.only.split(";") if options.only else list(SIDES)
    names = [n for n in names if python or n.startswith("ours")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        quality = Quality(folder, prepare(folder, options.rows))
        print(
            f"{options.rows} candidates, {len(quality.pairs)} planted pairs of Jaccard >= {THRESHOLD}, "
            f"{options.workers} workers, median of {options.rounds} rounds"
        )
        runs: dict[str, list[dict]] = {n: [] for n in names}
        for _ in range(options.rounds):
            for name in names:
                runs[name].append(
                    _run(name, sys.executable if name.startswith("ours") else python, folder, options.workers)
                )
        report(runs, quality, options.rows)
        features(folder, options.rounds)
        same = equal_to_oracle(folder)
    if not python or not same:
        sys.exit("the peers were not measured" if same else 1)


def _run(name: str, python: str, folder: Path, workers: int) -> dict:
    command = [python, __file__, "--side", name, "--folder", folder, "--workers", str(workers)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads((folder / "result.json").read_text())


def report(runs: dict[str, list[dict]], quality: Quality, rows: int) -> None:
    middle = {
        n: {k: statistics.median(r[k] for r in found) for k in ("wall", "cpu", "peak")} for n, found in runs.items()
    }
    against = [("cpu", "ours, one worker", "CPU"), ("cpu", "ours, read again, one worker", "CPU, read again"),
               ("wall", "ours", "wall"), ("wall", "ours, texts read again", "wall, read again")]  # fmt: skip
    against = [(key, middle[name][key], word) for key, name, word in against if name in middle]
    columns = {"wall s": 8, "CPU-s": 8, "rows/CPU-s": 12, "peak MB": 9, "removed": 9, "recall": 8, "precision": 11}
    print(" " * 30 + "".join(f"{name:>{width}}" for name, width in columns.items()) + "   ours is faster")
    for name, found in runs.items():
        m, (recall, precision) = middle[name], quality.of(found[0]["removed"])
        ratio = ", ".join(f"{m[key] / seconds:.1f} x {word}" for key, seconds, word in against)
        print(
            f"{name:30}{m['wall']:8.2f}{m['cpu']:8.2f}{rows / m['cpu']:12.0f}{m['peak'] / 1e6:9.0f}"
            f"{len(found[0]['removed']):9}{recall:8.3f}{precision:11.4f}   {ratio}"
        )


if __name__ == "__main__":
    main()
