"""The code verifier against what public sets say of programs: solutions must pass, planted wrong programs must fail.

    .venv/bin/python benchmarks/code_agreement.py [--data FOLDER] [--rows N | --all] [--sets NAME ...] [--seed S]

Prints a table for each set, and every disagreement on a line of its own. By default a sample of each set; `--all` takes
every row (about half an hour on two cores; without the planted programs, `--no-planted`, a few minutes).
"""

import argparse
import collections
import gzip
import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import code_planted  # noqa: E402
from tasks.prompts.formats import livecodebench  # noqa: E402
from tasks.prompts.formats.found import convert  # noqa: E402
from tasks.verification.code import domain  # noqa: E402
from tasks.verification.code.repair import repair_prompt  # noqa: E402
from tasks.verification.verdict import VerificationError  # noqa: E402

DATA = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
REPAIRS = 10  # bug-fixing prompts made from each set
FORMATS = {"code_contests": "stdio", "codeforces": "stdio"}  # others are called as their set


def lines(path: Path) -> list[dict]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
        return [json.loads(line) for line in file]


def read(data: Path) -> dict[str, list[dict]]:
    """Rows of each set, as published."""
    leetcode = [data / "leetcode-rllm" / part / "code" / "leetcode.json" for part in ("test", "train")]
    return {
        "humaneval": lines(data / "humaneval" / "HumanEval.jsonl.gz"),
        "mbpp": lines(data / "mbpp" / "mbpp.jsonl"),
        "mbpp_plus": lines(data / "mbpp-plus" / "MbppPlus-v0.1.0.jsonl"),
        "leetcode": [row for path in leetcode for row in json.loads(path.read_text())],
        "code_contests": json.loads((data / "code-contests-test" / "code_contests.json").read_text()),
        "codeforces": json.loads(
            (data / "codeforces" / "rllm" / "data" / "test" / "code" / "codeforces.json").read_text()
        ),
        "livecodebench": json.loads(next((data / "livecodebench-submissions").glob("*/*.json")).read_text()),
    }


def entry_of(row: dict, meta: dict) -> str:
    """What the tests of a row call."""
    if meta["tests"].get("entry"):
        return meta["tests"]["entry"]
    return row["tests"]["functional"].rpartition("check(")[2].rstrip(" )\n")


def task_of(name: str, row: dict) -> tuple[dict, str | None]:
    """(meta, solution) of a row; a solution of None is one that the set does not have."""
    meta = dict(convert(FORMATS.get(name, name), row).meta)
    return meta, meta.pop("solution", None)


def programs(name: str, row: dict) -> tuple[dict, dict[str, tuple[str, str]]]:
    """(meta, {label: (program, status it must have)}) of a row of any set but livecodebench."""
    meta, solution = task_of(name, row)
    if solution is None:
        solution, wrong = code_planted.standard_io(meta["tests"]["cases"])
    else:
        wrong = code_planted.functional(solution, entry_of(row, meta))
    return meta, {"solution": (solution, "ok")} | {label: (text, "wrong") for label, text in wrong.items()}


def verdict(meta: dict, program: str) -> tuple[str, str, str]:
    try:
        return domain.work({"meta": meta, "program": program})
    except VerificationError as error:
        return "no test", "meta", str(error)


def report(name: str, results: list[tuple[str, str, str, tuple]], seconds: float) -> None:
    """`results`: (row, label, expected status, verdict); a wrong program may also be stopped at a limit."""
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for _, label, _, (status, _, _) in results:
        counts[label][status] += 1
    columns = ["ok", "wrong", "timeout", "unparsable", "infra", "no test"]
    print(f"\n{name}: {len(results)} verifications, {seconds:.0f} s, {len(results) / seconds:.0f}/s")
    print(f"  {'program':24}" + "".join(f"{c:>11}" for c in columns))
    for label, count in counts.items():
        print(f"  {label:24}" + "".join(f"{count[c]:>11}" for c in columns))
    for row, label, expected, (status, _, detail) in results:
        agrees = status == expected or expected == "wrong" and status == "timeout"
        if not agrees and expected != "any":
            print(f"  DISAGREES {row} [{label}] expected {expected}, is {status}: {detail[:160]}")
    sys.stdout.flush()


def run(name: str, jobs: list[tuple[str, str, str, dict, str]], threads: ThreadPoolExecutor) -> None:
    """`jobs`: (row, label, expected, meta, program)."""
    start, results = time.monotonic(), []
    for i, (job, outcome) in enumerate(zip(jobs, threads.map(lambda job: verdict(job[3], job[4]), jobs))):
        results.append((*job[:3], outcome))
        if sys.stderr.isatty() and i % 20 == 0:
            print(f"\r{name} {i}/{len(jobs)} ", end="", file=sys.stderr)
    report(name, results, time.monotonic() - start)


def livecodebench_jobs(rows: list[dict]) -> list[tuple]:
    """Passed: all examples pass. Failed: the hidden test fails; its examples may pass or not."""
    jobs = []
    for row in rows:
        passed = row["graded_list"][0]
        for meta, program, error in livecodebench.submissions(row):
            if error is not None:
                jobs.append(
                    (row["question_id"], f"failed: {error.partition(' at ')[0].lower()}", "wrong", meta, program)
                )
            elif passed:
                jobs.append((row["question_id"], "passed, examples", "ok", meta, program))
            else:
                jobs.append((row["question_id"], "failed, examples", "any", meta, program))
    return jobs


def repairs(name: str, rows: list[dict], threads: ThreadPoolExecutor) -> None:
    """Bug-fixing prompts of a set: the repaired program passes, the unrepaired one does not."""

    def one(row: dict) -> tuple[str, str] | None:
        meta, solution = task_of(name, row)
        made = repair_prompt({"id": "repair", "text": "", "meta": json.dumps(meta)}, solution, seed=0)
        if made is None:
            return None
        broken = json.loads(made["meta"])["broken"]
        replies = [domain.start(made, f"```python\n{text}\n```")[2] for text in (solution, broken)]
        return tuple(domain.work(job)[0] for job in replies)

    found = [pair for pair in threads.map(one, rows[:REPAIRS]) if pair]
    print(f"  bug-fixing prompts: {len(found)} made of {len(rows[:REPAIRS])} rows; repaired ok {sum(a == 'ok' for a, _ in found)}, "
          f"unrepaired not ok {sum(b != 'ok' for _, b in found)}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rows", type=int, default=15, help="sampled from each set")
    parser.add_argument("--all", action="store_true", help="every row")
    parser.add_argument("--no-planted", action="store_true", help="only the programs that the sets have")
    parser.add_argument("--sets", nargs="*", help="only these sets")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"no real inputs at {options.data}: --data or R1_SHARED_DATA names their folder")
    domain.ready()
    threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)) + 1)
    for name, rows in read(options.data).items():
        if options.sets and name not in options.sets:
            continue
        rows = rows if options.all else random.Random(options.seed).sample(rows, options.rows)
        if name == "livecodebench":
            run(name, livecodebench_jobs(rows), threads)
            continue
        jobs = []
        for i, row in enumerate(rows):
            meta, found = programs(name, row)
            row_id = str(row.get("task_id", i))
            jobs += [
                (row_id, label, status, meta, text)
                for label, (text, status) in found.items()
                if label == "solution" or not options.no_planted
            ]
        run(name, jobs, threads)
        if name in ("humaneval", "mbpp", "leetcode") and not options.no_planted:
            repairs(name, rows, threads)


if __name__ == "__main__":
    main()
