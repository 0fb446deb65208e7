"""What Python and numba have compiled of a checkout, for a copy of it: else every copy compiles for half a minute."""

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LAST = "tasks/curation/__pycache__/near_duplicates_cover.cover-*.nbi"  # to be compiled, so the others are there too


def copy_compiled(root: Path, folder: Path) -> None:
    """Valid where the copied sources have the times of the originals (shutil.copy2)."""
    if root == ROOT:
        compile_once()
    compiled = (p for name in ("flows", "tasks") for p in root.glob(f"{name}/**/__pycache__/*"))
    for path in (p for p in compiled if p.suffix in (".pyc", ".nbc", ".nbi")):
        there = folder / path.relative_to(root)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, there)


def compile_once() -> None:
    """Have numba compile, once for all workers of this test run, what the smallest recipe's curation calls: a minute."""
    with open(Path(tempfile.gettempdir()) / f"r1-compiling-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if any(ROOT.glob(LAST)):
            return
        from tasks.curation.policy import Benchmark, Policy
        from tests.curation.made_candidates import candidates, curated, write

        policy = Policy.model_validate(yaml.safe_load((ROOT / "tests/smoke.yaml").read_text())["reasoning"])
        with tempfile.TemporaryDirectory() as folder:
            rows, exam = candidates(96), Path(folder) / "exam.jsonl"
            exam.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows[:2]))
            held_out = Benchmark(name="exam", path=str(exam))
            curated([write(Path(folder) / "a.parquet", rows)], policy, Path(folder) / "out", benchmarks=[held_out])
