"""What a run that has nothing to do costs: CPU-seconds of `dvc repro` and of `r1 run`, and their ratio.

    .venv/bin/python benchmarks/noop.py [repetitions]

The checkout must be up to date (`make run`); medians are printed. CPU-seconds count every child process.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
COMMANDS = {"dvc repro": [str(BIN / "dvc"), "repro"], "r1 run": [str(BIN / "r1"), "run"]}
QUIET = {"DO_NOT_TRACK": "1", "DVC_NO_ANALYTICS": "1"}


def measure(command: list[str]) -> tuple[float, float]:
    """(CPU-seconds, wall seconds) of one run of `command` and all its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=os.environ | QUIET, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main(repetitions: int) -> None:
    status = subprocess.run([str(BIN / "dvc"), "status", "--quiet"], cwd=ROOT, env=os.environ | QUIET, capture_output=True)
    if status.returncode:
        sys.exit("something has changed since the last run: this measures runs with nothing to do; `make run` first")
    cpu = {}
    for name, command in COMMANDS.items():
        runs = [measure(command) for _ in range(repetitions)]
        cpu[name] = statistics.median(c for c, _ in runs)
        wall = statistics.median(w for _, w in runs)
        spread = ", ".join(f"{c:.2f}" for c, _ in runs)
        print(f"no-op {name:10} {cpu[name]:6.2f} CPU-s  {wall:6.2f} s wall   (median of {repetitions}: {spread})")
    print(f"r1 run / dvc repro: {cpu['r1 run'] / cpu['dvc repro']:.2f} in CPU-seconds")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
