"""Decontamination side by side: the logic of open-r1's decontaminate.py, plain SQL, and ours, on the same texts.

    .venv/bin/python benchmarks/decontamination.py [--full] [--ngram 13] [--runs 3]

Texts: chains of thought made of sentences of published solutions, with problems planted in one of fifty, whole or in
part; problems: MATH-500, the GSM8K test set and Omni-MATH. Where the shared data is missing, both are generated sums.
One thread each, libraries loaded and functions compiled beforehand, building the index of the problems included.
Medians of the runs. Ours must hit the rows and items that SQL hits; open-r1 cuts at white space, so its hits differ.
"""

import argparse
import os
import random
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")
SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
PROBLEMS = (("math500", "problem"), ("gsm8k/test.jsonl", "question"), ("omni-math-500", "problem"))
SOLUTIONS = (("aime-1983-2023", "solution"), ("math500", "solution"), ("gsm8k/train.jsonl", "answer"))
SAMPLE = 150  # texts for SQL, which is slow: its rate is of these
TEXT = 6_000  # characters of a chain of thought, as in 18 GB of 3 million


def data(megabytes: float) -> tuple[list[str], list[str], set[int]]:
    """(texts, problems, texts with a whole problem planted)."""
    from tasks.curation.contamination_sets import read_set

    if all((SHARED / path).exists() for path, _ in (*PROBLEMS, *SOLUTIONS)):
        problems = [t for path, column in PROBLEMS for t in read_set(SHARED, path, column).texts.to_pylist()]
        solutions = [t for path, column in SOLUTIONS for t in read_set(SHARED, path, column).texts.to_pylist()]
        sentences = [s for text in solutions for s in re.split(r"(?<=[.!?])\s+|\n+", text) if len(s) > 20]
    else:
        from tasks.prompts.running_sums import problems as sums

        made = list(sums(7, 4000))
        problems = [f"Problem {i.index}, to be solved with care and without haste: {i.text}" for i in made[:1000]]
        sentences = [f"Let me look at this once more: {i.solution}" for i in made[1000:]]
    chance = random.Random(0)
    texts, planted = [], set()
    while len(texts) * TEXT < megabytes * 1e6:
        picked, size = [], 0
        while size < TEXT:
            picked.append(chance.choice(sentences))
            size += len(picked[-1]) + 1
        if chance.random() < 0.02:
            problem = chance.choice(problems)
            whole = chance.random() < 0.5
            picked.insert(len(picked) // 2, problem if whole else problem[: len(problem) // 2])
            if whole:
                planted.add(len(texts))
        texts.append("<think>" + " ".join(picked) + "</think>")
    return texts, problems, planted


# Each side: texts and problems in, the texts out that share an n-gram with any problem.


def open_r1(texts: Sequence[str], problems: Sequence[str], n: int) -> set[int]:
    """open-r1 scripts/decontaminate.py: lower-cased words between white space, a dict from n-gram to problems."""

    def ngrams(text: str) -> list[str]:
        words = " ".join(text.lower().strip().split()).split()
        return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]

    lookup = defaultdict(set)
    for at, problem in enumerate(problems):
        for gram in ngrams(problem):
            lookup[gram].add(at)
    return {row for row, text in enumerate(texts) if any({gram in lookup for gram in set(ngrams(text))})}


def plain_sql(texts: pa.Array, problems: pa.Array, n: int) -> set[int]:
    """N-grams unnested, then a semi-join; the token rule of the oracle."""
    import duckdb

    macros = duckdb.extract_statements((ROOT / "tasks/curation/contamination_oracle.sql").read_text())
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        for statement in macros[:4]:
            con.execute(statement)
        con.register("problems", pa.table({"text": problems}))
        con.register("texts", pa.table({"row": range(len(texts)), "text": texts}))
        strings = f"unnest(list_transform(grams(words, {n}), lambda g: array_to_string(g, ' '))) AS gram"
        con.execute(
            f"CREATE TABLE lookup AS SELECT DISTINCT {strings} FROM (SELECT tokens(text) AS words FROM problems)"
        )
        words = "SELECT row, tokens(text) AS words FROM texts"
        grams = f"SELECT row, {strings} FROM ({words})"
        rows = con.execute(f"SELECT DISTINCT row FROM ({grams}) SEMI JOIN lookup USING (gram)")
        return {row for (row,) in rows.fetchall()}


def ours(texts: pa.Array, problems: pa.Array, n: int) -> set[int]:
    """The kernel: for each text the problem it has most of; here only whether there is one."""
    import numpy as np

    from tasks.curation.contamination_scan import overlaps
    from tasks.curation.kernel import GramIndex

    found = overlaps(texts, GramIndex.build(n, problems))
    return set(np.flatnonzero(found["gram_item"].to_numpy() >= 0).tolist())


def measured(side: Callable, texts, problems, n: int, runs: int) -> tuple[float, float, set[int]]:
    """Median CPU seconds and wall seconds of the runs, and what was found."""
    cpu, wall, found = [], [], set()
    for _ in range(runs):
        start = time.process_time(), time.perf_counter()
        found = side(texts, problems, n)
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    return statistics.median(cpu), statistics.median(wall), found


def agrees_with_oracle(texts: pa.Array, problems: pa.Array, n: int) -> int:
    """Ours against the oracle, problem by problem, on `texts`; the pairs compared. Raises where they differ."""
    from tasks.curation.contamination_oracle import oracle
    from tasks.curation.contamination_scan import overlaps
    from tasks.curation.kernel import GramIndex

    shared, _ = oracle(texts, problems, n, None)
    best: dict[int, tuple] = {}
    for row, item, hits, coverage in shared:
        best[row] = max(best.get(row, (0.0, 0, 0)), (coverage, hits, -item))
    found = overlaps(texts, GramIndex.build(n, problems))
    items, coverages = found["gram_item"].to_pylist(), found["gram_coverage"].to_pylist()
    theirs = [(-best[row][2], best[row][0]) if row in best else (-1, 0.0) for row in range(len(texts))]
    if list(zip(items, coverages)) != theirs:
        raise AssertionError("ours and the oracle differ")
    return len(shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="200 MB of text instead of 40")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ngram", type=int, default=13, help="13 for chains of thought, 8 for prompts")
    options = parser.parse_args()
    texts, problems, planted = data(200 if options.full else 40)
    arrays = pa.array(texts, pa.large_string()), pa.array(problems, pa.large_string())
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(
        f"{len(texts):,} chains of thought, {size:.1f} MB; {len(problems):,} problems; one thread; {options.runs} runs"
    )
    n = options.ngram
    ours(arrays[0][:10], arrays[1][:10], n)  # compiled and loaded
    sample = arrays[0][:SAMPLE]
    sides = {"open-r1": (open_r1, texts, problems), "SQL": (plain_sql, sample, arrays[1]), "ours": (ours, *arrays)}
    results = {name: measured(*side, n, options.runs) for name, side in sides.items()}
    pairs = agrees_with_oracle(sample, arrays[1], n)
    if {row for row in results["ours"][2] if row < SAMPLE} != results["SQL"][2]:
        raise AssertionError(f"{n}-grams: ours and SQL hit different texts")
    print(f"\n{n}-grams; {pairs:,} pairs in the first {SAMPLE} texts, with coverage, as the oracle's")
    print(f"{'':10}{'MB':>8}{'CPU-s':>9}{'wall s':>9}{'MB/CPU-s':>10}{'texts hit':>11}{'planted':>9}{'ours is':>9}")
    sizes = {name: sum(len(t.encode()) for t in texts[: SAMPLE if name == "SQL" else None]) / 1e6 for name in sides}
    rates = {name: sizes[name] / results[name][0] for name in sides}
    for name, (cpu, wall, found) in results.items():
        rows = SAMPLE if name == "SQL" else len(texts)
        share = f"{len(found & planted)}/{sum(row < rows for row in planted)}"
        ratio = "" if name == "ours" else f"{rates['ours'] / rates[name]:8.1f}x"
        numbers = f"{sizes[name]:8.1f}{cpu:9.2f}{wall:9.2f}{rates[name]:10.1f}{len(found):11,}"
        print(f"{name:10}{numbers}{share:>9}{ratio}")


if __name__ == "__main__":
    main()
