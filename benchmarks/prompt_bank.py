"""What becomes of nine public prompt sets on the way into one bank: which rows go, by which rule, against which set.

    .venv/bin/python benchmarks/prompt_bank.py [--data FOLDER] [--recipe FILE] [--no-golds] [--show RULE] [--rows N]

Reads the sources and evaluation sets of benchmarks/prompt_bank.yaml, whose `data/raw` is the folder of real inputs
(../shared/data, R1_SHARED_DATA, or --data), through the same code as the stage `prompts`, and prints the tables of
docs/curation.md. `--show prompt_ngram` lists rejected rows beside what they were rejected for, to be read by eye;
`--no-golds` leaves out the gold check, which runs every reference program in the sandbox.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from flows.prompts import Params  # noqa: E402
from tasks.prompts.bank import Bank, build  # noqa: E402
from tasks.prompts.evaluation_sets import overlaps, publish  # noqa: E402
from tasks.prompts.near_duplicates import near_duplicates  # noqa: E402
from tasks.prompts.readers import read  # noqa: E402
from tasks.prompts.sources import read_source  # noqa: E402
from tasks.verification.verify import gold_problems  # noqa: E402

DATA = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
OVERLAP = ("prompt_exact", "prompt_ngram")
REPEAT = ("duplicate", "near_duplicate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help="what data/raw stands for")
    parser.add_argument("--recipe", type=Path, default=ROOT / "benchmarks" / "prompt_bank.yaml")
    parser.add_argument("--no-golds", action="store_true")
    parser.add_argument("--show", choices=[*OVERLAP, *REPEAT], help="list rows rejected by this rule")
    parser.add_argument("--rows", type=int, default=30, help="how many of them, evenly spread over the values")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"no real inputs at {options.data}: --data or R1_SHARED_DATA names their folder")
    p = Params.model_validate(yaml.safe_load(options.recipe.read_text()))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data").mkdir()
        (root / "data" / "raw").symlink_to(options.data.resolve())
        bank, laps = clean(p, root, not options.no_golds)
        print(table(bank))
        print(against(bank))
        print("seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in laps.items()))
        if options.show:
            show(bank, options.show, options.rows, p, root)


def clean(p: Params, root: Path, golds: bool) -> tuple[Bank, dict[str, float]]:
    """The bank, and how long each step took (wall)."""
    laps: dict[str, float] = {}

    def timed(name, function):
        def run(*args):
            start = time.perf_counter()
            out = function(*args)
            laps[name] = time.perf_counter() - start
            return out

        return run

    start = time.perf_counter()
    readings = timed("reading", lambda: [read_source(source, root, 0) for source in p.sources])()
    threads = len(os.sched_getaffinity(0))
    bank = build(
        readings, timed("golds", gold_problems if golds else lambda rows: [None] * len(rows)), p.validation_share,
        p.final_share, p.max_prompt_tokens, p.max_duplicate_share,
        overlap=timed("evaluation sets", lambda rows: overlaps(rows, p.decontamination, root)),
        near=timed("near duplicates", lambda texts: near_duplicates(texts, p.near_duplicates, root / "work", threads)),
    )  # fmt: skip
    final = [row for row in bank.rows if row["split"] == "final"]
    procedural = {s.name for s in p.sources if s.is_procedural}
    timed("index", publish)(final, procedural, p.decontamination, root, root / "index")
    return bank, laps | {"all": time.perf_counter() - start}


def table(bank: Bank) -> str:
    """One line a source: rows, what was removed first by which kind of rule, and what is left."""
    lines = ["| source | rows | unusable | in an evaluation set | equal to another | nearly equal | kept | final |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    total: Counter[str] = Counter()
    for name, facts in bank.sources.items():
        dropped = Counter(facts["dropped"])
        overlap = sum(dropped.pop(rule, 0) for rule in OVERLAP)
        equal, near = (dropped.pop(rule, 0) for rule in REPEAT)
        cells = {"rows": facts["rows"], "unusable": sum(dropped.values()), "overlap": overlap, "equal": equal}
        cells |= {"near": near, "kept": facts["kept"], "final": facts["final"]}
        total.update(cells)
        lines.append(f"| {name} | " + " | ".join(f"{n:,}" for n in cells.values()) + " |")
    lines.append("| **all** | " + " | ".join(f"{n:,}" for n in total.values()) + " |")
    repeats = "; ".join(f"{a} of {b} {n:,}" for a, found in bank.repeats.items() for b, n in sorted(found.items()))
    return "\n".join([*lines, "", f"repeats: {repeats}", ""])


def evidence(decision: dict) -> dict:
    """The benchmark, item and coverage of a contaminated row."""
    text = decision["evidence"]
    return json.JSONDecoder().raw_decode(text[text.index("{") :])[0]


def against(bank: Bank) -> str:
    """Rows by evaluation set and source: equal + by n-grams, and how many different problems they hold."""
    rows, problems = Counter(), {}
    for decision in bank.decisions:
        if decision["rule"] in OVERLAP:
            found, source = evidence(decision), decision["evidence"].split(" ", 1)[0]
            rows[found["benchmark"], source, decision["rule"]] += 1
            problems.setdefault((found["benchmark"], source), set()).add(found["item"])
    lines = ["| evaluation set | source | equal | by n-grams | its problems found |", "|---|---|---:|---:|---:|"]
    for (benchmark, source), items in sorted(problems.items()):
        equal, grams = (rows[benchmark, source, rule] for rule in OVERLAP)
        lines.append(f"| {benchmark} | {source} | {equal} | {grams} | {len(items)} |")
    return "\n".join([*lines, ""])


def show(bank: Bank, rule: str, count: int, p: Params, root: Path) -> None:
    """Rejected rows in the order of their values, each with the text it was rejected for."""
    found = sorted((d for d in bank.decisions if d["rule"] == rule), key=lambda d: d["value"])
    step = max(1, len(found) // count)
    columns = {b.name: b for b in p.decontamination.against}
    kept = {f"{row['source']} {row['origin']}": row["text"] for row in bank.rows}
    for decision in found[::step]:
        print(f"{decision['value']:.2f}  {decision['evidence']}")
        if rule in OVERLAP:
            problem = evidence(decision)
            benchmark = columns[problem["benchmark"]]
            file = re.split(r"[:#]\d+$", problem["item"])[0]
            row = dict(read(root / file, file, benchmark.columns))[problem["item"]]
            other = row[benchmark.text]
        else:
            other = kept.get(re.search(r"(?:with|as) (.+?), which is kept", decision["evidence"])[1], "")
        print("      " + " ".join(str(other).split())[:400])


if __name__ == "__main__":
    main()
