"""How often the maths verifier and plain math-verify are right: the adversarial set, and real graded outputs.

    .venv/bin/python benchmarks/maths_agreement.py [--real] [--golds] [--list]

Without arguments only the adversarial set (tests/verification/adversarial) is read: for every kind of answer the
false acceptances and false rejections of ours and of math-verify alone. `--real` adds the graded model outputs and
`--golds` the gold answers of shared data (R1_SHARED_DATA); `--list` prints every disagreement.

Real outputs carry no answer tags. Their final answer is found by the set's own convention (`A: …` in
gsm8k-model-solutions, the JSON field `answer` in zeroeval-math, `pred` in tora-outputs) and put into one.
"""

import argparse
import json
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tasks.prompts.formats.zeroeval import answer_field  # noqa: E402

SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
ADVERSARIAL = ROOT / "tests" / "verification" / "adversarial" / "maths.jsonl"
REVIEWED = ROOT / "tests" / "verification" / "adversarial" / "reviewed.jsonl"
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")


class Item(NamedTuple):
    kind: str
    gold: str
    answer: str
    ok: bool | None  # the truth, or what the set's own grading says
    where: str = ""


def adversarial() -> Iterator[Item]:
    for line in ADVERSARIAL.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield Item(row["kind"], row["gold"], row["answer"], row["truth"] == "ok", row["reason"])


def gsm8k_solutions() -> Iterator[Item]:
    """Four models' solutions of each problem, with the flags their authors published."""
    path = SHARED / "gsm8k-model-solutions" / "example_model_solutions.jsonl"
    for i, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        gold = row["ground_truth"].rpartition("A:")[2].strip()
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            _, found, answer = row[model]["solution"].rpartition("A:")
            answer = answer.strip() if found else ""
            yield Item("gsm8k-model-solutions", gold, answer, row[model]["is_correct"], f"{i}/{model}")


def zeroeval() -> Iterator[Item]:
    """Two models' JSON answers to GSM8K; no flags, so the grading is the harness's number rule."""
    for path in sorted((SHARED / "zeroeval-math" / "gsm").glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            gold = row["answer"].lstrip("# ").strip()
            answer = answer_field(row["output"][0])
            yield Item("zeroeval-math", gold, answer, number_rule(gold, answer), f"{path.stem}/{row['id']}")


def tora() -> Iterator[Item]:
    path = next((SHARED / "tora-outputs").glob("*.jsonl"))
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        answer = str(row["pred"][0])
        yield Item("tora-outputs", row["gt"], answer, number_rule(row["gt"], answer), str(row["idx"]))


def number_rule(gold: str, answer: str) -> bool:
    """What these harnesses do: the first number of each, without commas, equal to one part in ten thousand."""
    numbers = [_NUMBER.search(x) for x in (gold, answer)]
    if None in numbers:
        return False
    a, b = (float(m[0].replace(",", "")) for m in numbers)
    return abs(a - b) <= 1e-4 * max(1.0, abs(a))


def golds(name: str) -> list[str]:
    if name == "math500":
        lines = (SHARED / "math500" / "test.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["answer"] for line in lines]
    import pyarrow.parquet as pq

    files = sorted((SHARED / "deepscaler-40k").glob("*.parquet"))
    rows = [r for f in files for r in pq.read_table(f, columns=["reward_model"]).column(0).to_pylist()]
    return [str(row["ground_truth"]) for row in rows]


def ours(items: list[Item]) -> list[str]:
    """Our statuses, through the same front door as everybody's."""
    from tasks.verification.verify import verify_all

    prompts = [{"id": i.where, "domain": "maths", "gold": i.gold, "meta": None} for i in items]
    verdicts = verify_all(prompts, [f"<think> . </think> <answer>{i.answer}</answer>" for i in items], processes=2)
    return [v.status for v in verdicts]


def alone(items: list[Item]) -> list[str]:
    """math-verify by itself, as reward functions call it: both sides boxed, its default extraction and time-outs."""
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    out = []
    for item in items:
        try:
            out.append(
                "ok" if verify(parse(rf"\boxed{{{item.gold}}}"), parse(rf"\boxed{{{item.answer}}}")) else "wrong"
            )
        except Exception as error:  # its own time-outs and parser errors: no reward
            out.append(type(error).__name__)
    return out


def table(title: str, items: list[Item], one: list[str], other: list[str]) -> dict[str, Counter]:
    """Prints errors by kind and returns them: false acceptances and rejections of ours and of math-verify."""
    counts: dict[str, Counter] = {}
    for item, a, b in zip(items, one, other):
        row = counts.setdefault(item.kind, Counter())
        row["n"] += 1
        for who, status in (("ours", a), ("alone", b)):
            row[f"{who} fp"] += status == "ok" and not item.ok
            row[f"{who} fn"] += status != "ok" and item.ok
    print(f"\n{title:24} {'pairs':>6} | ours: false ok, false wrong | math-verify alone: false ok, false wrong")
    for kind, row in sorted(counts.items()) + [("all", sum(counts.values(), Counter()))]:
        print(f"{kind:24} {row['n']:6} | {row['ours fp']:8} {row['ours fn']:8}", end="")
        print(f"            | {row['alone fp']:8} {row['alone fn']:8}")
    return counts


def real(listing: bool) -> None:
    """Agreement on real outputs: with the set's own grading, and with the truth where people reviewed it."""
    rows = [json.loads(line) for line in REVIEWED.read_text(encoding="utf-8").splitlines()]
    reviewed = {(r["set"], r["gold"], r["answer"]): r["truth"] for r in rows}
    for items in (list(gsm8k_solutions()), list(zeroeval()), list(tora())):
        columns = {}
        print(f"\n{items[0].kind}: {len(items)} outputs, {sum(i.ok for i in items)} graded right by the set")
        truth = [reviewed.get((i.kind, i.gold, i.answer), "ok" if i.ok else "wrong") for i in items]
        decided = sum(t != "undecidable" for t in truth)
        for who, grade in (("ours", ours), ("math-verify alone", alone)):
            start = time.perf_counter()
            columns[who] = statuses = grade(items)
            seconds = time.perf_counter() - start
            agree = sum((s == "ok") == i.ok for i, s in zip(items, statuses)) / len(items)
            right = sum((s == "ok") == (t == "ok") for s, t in zip(statuses, truth) if t != "undecidable") / decided
            print(f"  {who:18} agrees with the set {agree:.4%}, with the truth {right:.4%}, {seconds:.1f} s")
        for i, a, b, t in zip(items, *columns.values(), truth):
            if (a == "ok") != i.ok or listing and (b == "ok") != i.ok:
                print(f"  {i.where}: gold {i.gold!r}, answer {i.answer!r}: set {i.ok}, ours {a}, alone {b}; truth {t}")


def gold_tables() -> None:
    """Every gold against itself, and how many no verifier can use."""
    from tasks.verification.verify import gold_problems

    for name in ("math500", "deepscaler-40k"):
        unique = sorted(set(golds(name)))
        problems = gold_problems([{"id": g, "domain": "maths", "gold": g, "meta": None} for g in unique], processes=2)
        usable = [g for g, p in zip(unique, problems) if p is None]
        items = [Item(name, g, g, True) for g in usable]
        statuses = Counter(ours(items))
        print(f"\n{name}: {len(unique)} different golds, {len(unique) - len(usable)} of them unverifiable")
        print(f"  against themselves: {dict(statuses)}")
        for gold, problem in zip(unique, problems):
            if problem:
                print(f"  {gold[:90]!r}: {problem}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag in ("--real", "--golds", "--list"):
        parser.add_argument(flag, action="store_true")
    args = parser.parse_args()
    items = list(adversarial())
    one, other = ours(items), alone(items)
    table("adversarial", items, one, other)
    for item, a, b in zip(items, one, other):
        if (a == "ok") != item.ok or args.list and (b == "ok") != item.ok:
            print(f"  {item.kind}: gold {item.gold!r}, answer {item.answer!r} ({item.where}): ours {a}, alone {b}")
    if args.real:
        real(args.list)
    if args.golds:
        gold_tables()


if __name__ == "__main__":
    main()
