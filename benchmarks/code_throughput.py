"""Code verifications per second on short programs, beside a plain subprocess that checks nothing.

    .venv/bin/python benchmarks/code_throughput.py [--submissions N] [--rounds R]

The same programs, two cases each (sums of two numbers, by standard input and by calls), on the same cores:
- plain: `python program < input`, one process for each case, as many side by side as there are cores; no limits, no
jail;
- ours: this verifier, from response to verdict.
Rounds alternate and medians are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tasks.verification.code import domain  # noqa: E402

CORES = len(os.sched_getaffinity(0))
CASES = [("1 2", "3"), ("20 22", "42")]
PROGRAM = "a, b = map(int, input().split())\nprint(a + b)  # {n}\n"
FUNCTION = "def f(a, b):\n    return a + b  # {n}\n"
STDIO = {"kind": "stdio", "cases": [{"input": i, "output": o} for i, o in CASES]}
CALL = {
    "kind": "call",
    "entry": "f",
    "cases": [{"args": list(map(int, i.split())), "expected": int(o)} for i, o in CASES],
}
ASSERTS = {"kind": "asserts", "code": "assert f(1, 2) == 3\nassert f(20, 22) == 42\n"}


def plain(n: int) -> bool:
    command = [sys.executable, "-c", PROGRAM.format(n=n)]
    runs = [subprocess.run(command, input=i, capture_output=True, text=True, timeout=10) for i, _ in CASES]
    return all(run.stdout.strip() == o for run, (_, o) in zip(runs, CASES))


def ours(tests: dict, program: str):
    prompt = {"id": "p", "domain": "code", "gold": None, "meta": json.dumps({"tests": tests})}

    def one(n: int) -> bool:
        _, decision, job = domain.start(prompt, f"<think>…</think>\n```python\n{program.format(n=n)}```\n")
        return (decision or domain.work(job))[0] == "ok"

    return one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--submissions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    domain.ready()
    ways = {
        "plain subprocess": plain,
        "ours, standard input": ours(STDIO, PROGRAM),
        "ours, calls": ours(CALL, FUNCTION),
        "ours, asserts (two jails)": ours(ASSERTS, FUNCTION),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with ThreadPoolExecutor(CORES + 1) as threads:
        for _ in range(options.rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                if not all(threads.map(way, range(options.submissions))):
                    sys.exit(f"{name}: a right program did not pass")
                rates[name].append(options.submissions / (time.perf_counter() - start))
    base = statistics.median(rates["plain subprocess"])
    print(f"{options.submissions} submissions of {len(CASES)} cases, {CORES} cores, median of {options.rounds} rounds")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"  {name:28}{rate:8.1f} submissions/s  {rate / base:5.2f} x plain")


if __name__ == "__main__":
    main()
