"""Canaries on real prompts and on every task of reasoning-gym: which verdicts a policy could cheat.

    python benchmarks/canaries.py [prompts of each set, default 100]

MATH-500, DeepScaleR, Knights & Knaves and MMLU from the shared data (R1_SHARED_DATA), one prompt of each reasoning-gym
task. Prints how many canaries sing in each set, and each of them: a cheat that is accepted, or a gold that is not. Exit
status 1 where one does.
"""

import csv
import io
import json
import os
import random
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tasks.rewards import canaries
from tasks.rewards.composition import compose
from tasks.rewards.registry import Rewards
from tasks.verification.verify import gold_problems

SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))


def row(name: str, domain: str, text: str, gold: str, meta: dict | None = None) -> dict:
    meta = json.dumps(meta) if meta else None
    return {"id": name, "domain": domain, "text": text, "gold": gold, "meta": meta, "language": "en"}


def parquet(path: str, count: int) -> list[tuple[int, dict]]:
    import pyarrow.parquet as pq

    rows = list(enumerate(pq.read_table(SHARED / path).to_pylist()))
    return random.Random(0).sample(rows, min(count, len(rows)))


def math500(count: int) -> Iterator[dict]:
    lines = list(enumerate((SHARED / "math500/test.jsonl").read_text(encoding="utf-8").splitlines()))
    for i, line in random.Random(0).sample(lines, min(count, len(lines))):
        r = json.loads(line)
        yield row(f"math500 {i}", "maths", r["problem"], r["answer"])


def deepscaler(count: int) -> Iterator[dict]:
    for i, r in parquet("deepscaler-40k/train_L1.parquet", count):
        yield row(f"deepscaler {i}", "maths", r["prompt"][0]["content"], r["reward_model"]["ground_truth"])


def knights(count: int) -> Iterator[dict]:
    for i, r in parquet("kk-logic/3ppl/test.parquet", count):
        meta = {"puzzle": "knights-and-knaves", "people": r["names"]}
        yield row(f"kk {i}", "logic", r["quiz"], r["solution_text"], meta)


def mmlu(count: int) -> Iterator[dict]:
    with zipfile.ZipFile(SHARED / "mmlu/mmlu.zip") as archive:
        names = [n for n in archive.namelist() if n.endswith("_test.csv")]
        for i in range(count):
            name = names[i % len(names)]
            lines = csv.reader(io.TextIOWrapper(archive.open(name), "utf-8"))
            question, *options, gold = random.Random(i).choice(list(lines))
            labelled = dict(zip("ABCD", options))
            text = "\n".join([question, *(f"{label}. {option}" for label, option in labelled.items())])
            yield row(f"mmlu {name} {i}", "choice", text, gold, {"options": labelled})


def gym(count: int) -> Iterator[dict]:
    """One prompt of every task, whatever `count` says."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    for task in sorted(set(DATASETS) - {"composite"}):
        entry = json.loads(json.dumps(dict(reasoning_gym.create_dataset(task, size=1, seed=5)[0])))
        if entry["answer"] is not None:
            yield row(f"gym {task}", "logic", entry["question"], entry["answer"], {"gym": task, "entry": entry})


def main(count: int) -> None:
    sang = 0
    rewards = compose(Rewards.model_validate({"accuracy": 1.0, "format": 0.1, "language": 0.2}))
    for source in (math500, deepscaler, knights, mmlu, gym):
        prompts = list(source(count))
        prompts = [
            p for p, problem in zip(prompts, gold_problems(prompts)) if problem is None
        ]  # as the prompt bank does
        start = time.perf_counter()
        findings = canaries.check(rewards, prompts, "bare")
        seconds, singing = time.perf_counter() - start, [f for f in findings if f.sings]
        print(
            f"{source.__name__}: {len(singing)} of {len(findings)} canaries sing, {len(prompts)} prompts, {seconds:.1f} s"
        )
        for finding in singing:
            print(f"  {canaries.tell(finding)} {finding.canary.text[-60:]!r}")
        sang += len(singing)
    sys.exit(f"{sang} canaries sing" if sang else 0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
