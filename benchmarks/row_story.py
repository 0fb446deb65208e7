"""The whole story of arbitrary rows of a curated set: why kept or rejected, by which rule, against which other row.

    .venv/bin/python benchmarks/row_story.py [--result DIR] [--ids 60]

DIR is a result of `r1 curate`, such as `out-3000000` of benchmarks/curation_scale.py; without it one of 20,000 rows is
made. Each kind of fate is asked for (kept, each first reason, rows that make others superfluous, the first and the
last id): in one process with files that were read before, and as the command, which loads its libraries first.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
LIMIT = 1.0  # seconds


def arbitrary(result: Path, most: int) -> list[str]:
    """Ids of every fate, spread over the whole set."""
    import duckdb

    each = max(1, most // 20)
    with duckdb.connect() as con:
        fates = con.execute(
            "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY rule ORDER BY md5(id)) AS n "
            "FROM read_parquet($file)) WHERE n <= $each ORDER BY id",
            {"file": str(result / "outcomes.parquet"), "each": each},
        ).fetchall()  # fmt: skip
        ends = con.execute(
            "SELECT min(id), max(id) FROM read_parquet($file)", {"file": str(result / "outcomes.parquet")}
        ).fetchall()
        pairs = con.execute(
            "SELECT kept_id FROM (SELECT DISTINCT kept_id FROM read_parquet($file)) ORDER BY md5(kept_id) LIMIT $each",
            {"file": str(result / "near_duplicates.parquet"), "each": each},
        ).fetchall()  # fmt: skip
    return list(dict.fromkeys(key for row in [*fates, *ends, *pairs] for key in row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--result", type=Path)
    parser.add_argument("--ids", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = options.result or _make(Path(temporary))
        slowest = measure(result, arbitrary(result, options.ids))
    if slowest > LIMIT:
        sys.exit(f"a story took {slowest:.2f} s, more than {LIMIT:.0f} s")


def _make(folder: Path) -> Path:
    """A result of 20,000 rows; its path."""
    command = [sys.executable, ROOT / "benchmarks" / "curation_scale.py", "--data", folder, "--rows", "20k"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"no result could be made:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return folder / "out-20000"


def measure(result: Path, ids: list[str]) -> float:
    """Print times by fate; the seconds of the slowest story in this process."""
    import pyarrow.parquet as pq

    from tasks.curation.story import story

    story(result, ids[0])  # libraries
    fates: dict[str, list[tuple[float, float]]] = {}
    for key in ids:
        begun, used = time.perf_counter(), time.process_time()
        found = story(result, key)
        seconds = time.perf_counter() - begun, time.process_time() - used
        assert found["id"] == key and found["decisions"] and (found["row"] is not None) == found["kept"]
        fates.setdefault(found["rule"] or "kept", []).append(seconds)
    decisions = pq.read_metadata(result / "decisions.parquet").num_rows
    rows = pq.read_metadata(result / "outcomes.parquet").num_rows
    print(f"{rows:,} candidates, {decisions:,} decisions, {len(ids)} ids: seconds for a story")
    print(f"  {'fate':24}{'ids':>5}{'median':>9}{'slowest':>9}{'CPU':>9}")
    for fate, found in sorted(fates.items()):
        wall, cpu = zip(*found)
        print(f"  {fate:24}{len(wall):5}{statistics.median(wall):9.3f}{max(wall):9.3f}{statistics.median(cpu):9.3f}")
    begun = time.perf_counter()
    command = [sys.executable, "-m", "flows.cli.main", "curate", "--why", ids[-1], "--out", str(result)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    print(f"  as a command, with its start: {time.perf_counter() - begun:.2f} s")
    return max(wall for found in fates.values() for wall, _ in found)


if __name__ == "__main__":
    main()
