"""Candidates with planted truth: R1-like chains of thought, 16 for a prompt, in Parquet shards, at any scale.

    .venv/bin/python benchmarks/candidates.py [--rows 3M --out DIR] [--seed 0] [--workers 2]

Writes `DIR/shards/shard-00000.parquet` … (candidates), `DIR/truth.parquet` (id, kind, of, value: what was planted, of
which row or problem, how much of it) and `DIR/benchmark.jsonl` (id, text: the evaluation problems that were planted).
Every row follows from the seed and its number alone, so 300k rows are the first shards of 3M, and an interrupted run
goes on where it stopped. Without --out it makes 20,000 rows in a temporary folder and checks them.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.planted import texts, vocabulary  # noqa: E402
from tasks.responses import parse  # noqa: E402

SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
SAMPLES = 16  # a prompt
SHARD_ROWS, GROUP_ROWS = 20_000, 4_000
MEAN_BYTES, SPREAD = 5_800, 0.55  # log-normal
RATES = {  # share of the rows; the rest is clean
    "exact_duplicate": 0.02, "normalised_duplicate": 0.01, "near_duplicate_within": 0.03, "near_duplicate_across": 0.02,
    "mixed_language": 0.03, "long_paragraph": 0.015, "code_fence": 0.03, "truncated": 0.04, "loop": 0.015,
    "malformed": 0.03, "refusal": 0.005, "contaminated_text": 0.003,
}  # fmt: skip
PROMPTS_CONTAMINATED, PROMPTS_CHINESE = 0.005, 0.02
DOMAINS, DOMAIN_SHARES = ("maths", "code", "logic", "science"), (0.6, 0.8, 0.92, 1.0)
SCHEMA = pa.schema(
    [("id", pa.string()), ("prompt_id", pa.string()), ("prompt", pa.string()), ("text", pa.string()),
     ("index", pa.int32()), ("finish", pa.string()), ("verdict", pa.string()), ("language", pa.string()),
     ("domain", pa.string()), ("source", pa.string())]
)  # fmt: skip
TRUTH = pa.schema([("id", pa.string()), ("kind", pa.string()), ("of", pa.string()), ("value", pa.float64())])


def draw(seed: int, what: str, numbers: np.ndarray) -> np.ndarray:
    """uint64 for each number: SplitMix64 of seed, use and number."""
    salt = np.uint64(int.from_bytes(what.encode()[:8], "little") ^ (seed * 0x9E3779B97F4A7C15 % 2**64))
    with np.errstate(over="ignore"):
        z = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) ^ salt
        for multiplier in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xBF58476D1CE4E5B9):
            z = (z ^ (z >> np.uint64(29))) * np.uint64(multiplier)
        return z ^ (z >> np.uint64(32))


def share(seed: int, what: str, numbers: np.ndarray) -> np.ndarray:
    """float64 in [0, 1)."""
    return (draw(seed, what, numbers) >> np.uint64(11)) * 2.0**-53


def _contaminated(seed: int, prompts: np.ndarray) -> np.ndarray:
    return share(seed, "contamin", prompts) < PROMPTS_CONTAMINATED


def _chinese(seed: int, prompts: np.ndarray) -> np.ndarray:
    return (share(seed, "language", prompts) < PROMPTS_CHINESE) & ~_contaminated(seed, prompts)


def _kinds(seed: int, rows: np.ndarray) -> np.ndarray:
    bounds = np.cumsum([RATES[k] for k in texts.KINDS[1:]])
    found = np.searchsorted(bounds, share(seed, "kind", rows), side="right") + 1
    return np.where((found == len(texts.KINDS)) | _contaminated(seed, rows // SAMPLES), texts.CLEAN, found)


def _sources(seed: int, rows: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """The row that each duplicate copies: a clean one of its prompt, or of an earlier prompt; -1 for the others.

    Half of the exact and normalised duplicates lie within a prompt.
    """
    prompts = rows // SAMPLES
    copies = (kinds >= texts.EXACT) & (kinds <= texts.ACROSS)
    half = share(seed, "scope", rows) < 0.5
    within = copies & ((kinds == texts.WITHIN) | ((kinds != texts.ACROSS) & half))
    out = np.full(len(rows), -1)
    for attempt in range(8):
        picks = share(seed, f"pick{attempt}", rows)
        other = prompts * SAMPLES + (rows % SAMPLES + 1 + (picks * (SAMPLES - 1)).astype(np.int64)) % SAMPLES
        candidate = np.where(within, other, (picks * prompts * SAMPLES).astype(np.int64))
        fits = (_kinds(seed, candidate) == texts.CLEAN) & ~_contaminated(seed, candidate // SAMPLES)
        fits &= _chinese(seed, candidate // SAMPLES) == _chinese(seed, prompts)
        out = np.where(copies & (out < 0) & fits & (within | (prompts > 0)), candidate, out)
    return out


def _plan(seed: int, rows: np.ndarray, problems: int) -> dict[str, np.ndarray]:
    """Everything about rows that is decided before their texts."""
    kinds = _kinds(seed, rows)
    sources = _sources(seed, rows, kinds)
    lost = (kinds >= texts.EXACT) & (kinds <= texts.ACROSS) & (sources < 0)
    kinds = np.where(lost, texts.CLEAN, kinds)
    base = np.where(sources >= 0, sources, rows)
    chinese = _chinese(seed, base // SAMPLES)
    pair = np.clip(share(seed, "length1", base), 1e-12, 1), share(seed, "length2", base)
    normal = np.sqrt(-2 * np.log(pair[0])) * np.cos(2 * np.pi * pair[1])
    lengths = np.clip(MEAN_BYTES * np.exp(SPREAD * normal - SPREAD**2 / 2), 700, 60_000)
    lengths = np.where(kinds == texts.LOOP, np.maximum(lengths, 4_500), lengths)
    lengths = np.where(kinds == texts.LONG, np.maximum(lengths, np.where(chinese, 26_000, 9_000)), lengths)
    u = share(seed, "value", rows)
    values = np.ones(len(rows))
    for kind, low, high in (
        (texts.WITHIN, 0.5, 0.95), (texts.ACROSS, 0.5, 0.95), (texts.MIXED, 0.15, 0.6), (texts.TRUNCATED, 0.4, 0.95),
    ):  # fmt: skip
        values = np.where(kinds == kind, low + (high - low) * u, values)
    values = np.where(kinds == texts.CONTAMINATED, np.choose((u * 3).astype(int), (1.0, 0.7, 0.3)), values)
    extras = draw(seed, "extra", rows)
    extras = np.where(kinds == texts.CONTAMINATED, extras % np.uint64(problems), extras)
    return {
        "rows": rows, "kinds": kinds, "sources": sources, "chinese": chinese, "lengths": lengths.astype(np.int64),
        "values": values, "extras": (extras & np.uint64(0x7FFFFFFF)).astype(np.int64),
        "verdicts": _verdicts(seed, rows, kinds, sources), "seeds": draw(seed, "text", base),
        "own": draw(seed, "own", rows),
    }  # fmt: skip


def _verdicts(seed: int, rows: np.ndarray, kinds: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """ok, wrong or unparsable; a prompt's pass rate is u^1.5, mean .4: many prompts are never solved, few always.

    A copy from the same prompt has its source's verdict.
    """
    same = (sources >= 0) & (sources // SAMPLES == rows // SAMPLES)
    base = np.where(same, sources, rows)
    right = share(seed, "verdict", base) < share(seed, "passrate", rows // SAMPLES) ** 1.5
    lost = (kinds == texts.TRUNCATED) | (kinds == texts.REFUSAL)
    return np.where(lost, "unparsable", np.where(right, "ok", "wrong"))


def ids(seed: int, what: str, numbers: np.ndarray) -> pa.Array:
    """`what_` and 32 hex digits, as content-addressed ids look; distinct, in no order."""
    parts = [draw(seed, what, numbers), draw(seed, what[::-1], numbers)]
    digits = np.stack(parts, 1).view(np.uint8)
    hexadecimal = np.frombuffer(b"0123456789abcdef", np.uint8)[np.stack([digits >> 4, digits & 15], 2)]
    head = np.broadcast_to(np.frombuffer(f"{what}_".encode(), np.uint8), (len(numbers), len(what) + 1))
    data = np.concatenate([head, hexadecimal.reshape(len(numbers), 32)], 1)
    ends = np.arange(len(numbers) + 1, dtype=np.int32) * data.shape[1]
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(data)))


def _filled(function, count: int, size: int, *arguments) -> pa.Array:
    """Arrow strings that `function` writes, with a larger buffer until all of them fit."""
    while True:
        out, ends = np.empty(size, np.uint8), np.empty(count + 1, np.int64)
        if function(*arguments, out, ends) == count:
            data = pa.py_buffer(out[: ends[-1]])
            return pa.StringArray.from_buffers(count, pa.py_buffer(ends.astype(np.int32)), data)
        size *= 2


def _batch(seed: int, rows: np.ndarray, words: vocabulary.Vocabulary, problems: list[str]) -> tuple[pa.Table, pa.Table]:
    """Candidates and truth of consecutive rows that begin at a prompt."""
    plan = _plan(seed, rows, len(problems))
    first, sizes = (np.array(list(d.values()), np.int64) for d in (words.first, words.sizes))

    def fill(out, ends):  # a second attempt starts from the planned values again
        values[:] = plan["values"]
        return texts.fill(
            plan["seeds"], plan["own"], plan["lengths"], plan["chinese"], plan["kinds"], values, plan["extras"],
            first, sizes, words.blob, words.start, words.tokens, out, ends,
        )  # fmt: skip

    values = plan["values"].copy()
    text = _filled(fill, len(rows), int(plan["lengths"].sum() * 1.2) + (1 << 20))
    prompts = np.unique(rows // SAMPLES)
    stated = _filled(
        texts.fill_prompts, len(prompts), 1 << 20, draw(seed, "prompt", prompts), _chinese(seed, prompts), first, sizes,
        words.blob, words.start,
    )  # fmt: skip
    stated, planted = _contaminate(seed, prompts, stated, problems)
    place = pa.array(rows // SAMPLES - prompts[0])
    chinese = _chinese(seed, rows // SAMPLES)
    domains = np.array(DOMAINS)[np.searchsorted(DOMAIN_SHARES, share(seed, "domain", rows // SAMPLES), side="right")]
    domains = np.where(_contaminated(seed, rows // SAMPLES), "maths", domains)
    columns = [
        ids(seed, "completion", rows), ids(seed, "prompt", rows // SAMPLES), stated.take(place), text,
        pa.array((rows % SAMPLES).astype(np.int32)), np.where(plan["kinds"] == texts.TRUNCATED, "length", "stop"),
        plan["verdicts"], np.where(chinese, "zh", "en"), domains, np.full(len(rows), "planted"),
    ]  # fmt: skip
    table = pa.table([pa.array(c) for c in columns], SCHEMA)
    for row in np.flatnonzero(plan["kinds"] == texts.CONTAMINATED):
        problem = problems[plan["extras"][row]]
        values[row] = vocabulary.coverage(problem, vocabulary.block(problem, plan["values"][row]))
    return table, _truth(seed, plan | {"values": values}, table, planted, place)


def _contaminate(seed: int, prompts: np.ndarray, stated: pa.Array, problems: list[str]) -> tuple[pa.Array, list]:
    """Put benchmark problems in: as they are, in other case and white space, or with words around."""
    texts_, planted = stated.to_pylist(), [None] * len(prompts)
    for i in np.flatnonzero(_contaminated(seed, prompts)):
        which = int(draw(seed, "problem", prompts[i : i + 1])[0])
        problem, form = problems[which % len(problems)], which // len(problems) % 3
        planted[i] = which % len(problems), float(form)
        texts_[i] = (problem, "  ".join(problem.upper().split()), f"{texts_[i][:80]} {problem} Show your work.")[form]
    return pa.array(texts_, pa.string()), planted


def _truth(seed: int, plan: dict, table: pa.Table, planted: list, place: pa.Array) -> pa.Table:
    rows = np.flatnonzero(plan["kinds"] != texts.CLEAN)
    kinds, sources = plan["kinds"][rows], plan["sources"][rows]
    of = ids(seed, "completion", np.maximum(sources, 0)).to_pylist()
    problem = [f"benchmark_{x}" for x in plan["extras"][rows]]
    of = [o if s >= 0 else p if k == texts.CONTAMINATED else None for o, s, p, k in zip(of, sources, problem, kinds)]
    names = [texts.KINDS[k] for k in kinds]
    planned = [table["id"].take(rows).to_pylist(), names, of, plan["values"][rows].tolist()]
    for row, prompt in enumerate(place.to_pylist()):
        if planted[prompt] is not None:
            problem, form = planted[prompt]
            entry = table["id"][row].as_py(), "contaminated_prompt", f"benchmark_{problem}", form
            for column, value in zip(planned, entry):
                column.append(value)
    return pa.table([pa.array(c, t.type) for c, t in zip(planned, TRUTH)], TRUTH)


def write_shard(folder: str, number: int, rows: int, seed: int) -> int:
    """One shard and its part of the truth; bytes of text."""
    problems = [json.loads(line)["text"] for line in (Path(folder) / "benchmark.jsonl").read_text("utf-8").splitlines()]
    words = vocabulary.build(seed, problems)
    path = Path(folder) / "shards" / f"shard-{number:05d}.parquet"
    half, truth, size = path.with_suffix(".half"), [], 0
    with pq.ParquetWriter(half, SCHEMA, compression="zstd", compression_level=3, use_dictionary=[
        "prompt_id", "prompt", "finish", "verdict", "language", "domain", "source"
    ]) as out:  # fmt: skip
        for start in range(number * SHARD_ROWS, min(rows, (number + 1) * SHARD_ROWS), GROUP_ROWS):
            table, planted = _batch(seed, np.arange(start, min(rows, start + GROUP_ROWS)), words, problems)
            out.write_table(table, row_group_size=GROUP_ROWS)
            truth.append(planted)
            size += pa.compute.sum(pa.compute.binary_length(table["text"])).as_py()
    pq.write_table(pa.concat_tables(truth), Path(folder) / "shards" / f"truth-{number:05d}.part")
    half.replace(path)
    return size


def benchmark_problems(given: Path | None, seed: int) -> list[str]:
    """Problems of at least 20 tokens: of a JSONL file (`problem`, `question` or `text`), or invented."""
    if given is None and not (given := SHARED / "math500" / "test.jsonl").is_file():
        rng, words = random.Random(seed), vocabulary._pseudo_words(np.random.default_rng(seed))
        return [" ".join(rng.choices(words, k=rng.randint(25, 60))).capitalize() + "?" for _ in range(500)]
    rows = [json.loads(line) for line in given.read_text("utf-8").splitlines()]
    found = [next(r[k] for k in ("problem", "question", "text") if k in r) for r in rows]
    return [p for p in dict.fromkeys(found) if vocabulary.count_tokens(p) >= 20]


def generate(folder: Path, rows: int, seed: int = 0, workers: int = 2, benchmark: Path | None = None) -> dict:
    """Make what is missing of `rows` candidates in `folder`; what was made, in how many seconds."""
    folder = Path(folder)
    rows -= rows % SAMPLES
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    problems = benchmark_problems(benchmark, seed)
    lines = [json.dumps({"id": f"benchmark_{i}", "text": p}, ensure_ascii=False) + "\n" for i, p in enumerate(problems)]
    (folder / "benchmark.jsonl").write_text("".join(lines), encoding="utf-8")
    numbers = range(-(-rows // SHARD_ROWS))
    have = {n for n in numbers if _complete(folder / "shards" / f"shard-{n:05d}.parquet", n, rows)}
    missing, start, size = [n for n in numbers if n not in have], time.perf_counter(), 0
    with ProcessPoolExecutor(min(workers, len(missing)) or 1, get_context("spawn")) as pool:
        futures = [pool.submit(write_shard, str(folder), n, rows, seed) for n in missing]
        for done, future in enumerate(futures, 1):
            size += future.result()
            seconds = time.perf_counter() - start
            rate = f"\r{done}/{len(missing)} shards, {size / seconds / 1e6:.0f} MB/s"
            print(rate, end="\n" if done == len(missing) else "", file=sys.stderr, flush=True)
    parts = [pq.read_table(folder / "shards" / f"truth-{n:05d}.part") for n in numbers]
    pq.write_table(pa.concat_tables(parts), folder / "truth.parquet", compression="zstd")
    return {"rows": rows, "made": len(missing), "bytes": size, "seconds": time.perf_counter() - start}


def _complete(path: Path, number: int, rows: int) -> bool:
    wanted = min(rows, (number + 1) * SHARD_ROWS) - number * SHARD_ROWS
    return path.exists() and pq.read_metadata(path).num_rows == wanted


def check(folder: Path, most: int = 150) -> None:
    """Hold the truth against the texts, by code that shares nothing with what wrote them."""
    shards = [pq.read_table(p) for p in sorted((folder / "shards").glob("*.parquet"))]
    rows = {r["id"]: r for shard in shards for r in shard.to_pylist()}
    lines = (folder / "benchmark.jsonl").read_text("utf-8").splitlines()
    problems = {r["id"]: r["text"] for r in map(json.loads, lines)}
    truth: dict[str, list[dict]] = {}
    for entry in pq.read_table(folder / "truth.parquet").to_pylist():
        truth.setdefault(entry["kind"], []).append(entry)
    for kind, entries in sorted(truth.items()):
        errors = [_error(e, rows, problems) for e in entries[:most]]
        print(f"  {kind:24}{len(entries):6} rows   largest error of its value in {len(errors)}: {max(errors):.3f}")
        if max(errors) > 0.02:
            sys.exit(f"{kind}: a text is not what the truth says")


def _error(entry: dict, rows: dict, problems: dict) -> float:
    """How far the text is from what is recorded of it; 1 where it is something else."""
    row, kind = rows[entry["id"]], entry["kind"]
    text, thought = row["text"], row["text"].partition("</think>")[0]
    if kind.startswith("near_duplicate"):
        a, b = (set(zip(*(vocabulary.tokens_of(t)[k:] for k in range(5)))) for t in (text, rows[entry["of"]]["text"]))
        return abs(len(a & b) / len(a | b) - entry["value"])
    if kind == "loop":
        grams = list(zip(*(vocabulary.tokens_of(text)[k:] for k in range(5))))
        return abs(1 - len(set(grams)) / len(grams) - entry["value"])
    if kind == "contaminated_text":
        return abs(vocabulary.coverage(problems[entry["of"]], text) - entry["value"])
    source = rows[entry["of"]]["text"] if kind in ("exact_duplicate", "normalised_duplicate") else ""
    holds = {
        "exact_duplicate": lambda: text == source,
        "normalised_duplicate": lambda: text != source and _normal(text) == _normal(source),
        "mixed_language": lambda: any(ord(c) > 0x370 for c in thought),
        "long_paragraph": lambda: max(map(len, thought.split("\n\n"))) >= texts.LONG_PARAGRAPH,
        "code_fence": lambda: thought.count("```") == entry["value"],
        "truncated": lambda: row["finish"] == "length" and "</answer>" not in text,
        "malformed": lambda: not parse(text).well_formed,
        "refusal": lambda: any(r in text for r in vocabulary.REFUSALS + vocabulary.REFUSALS_ZH),
        "contaminated_prompt": lambda: _normal(problems[entry["of"]]) in _normal(row["prompt"]),
    }
    return float(not holds[kind]())


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def count(text: str) -> int:
    """Rows as people write them: 300k, 3M."""
    return int(float(text[:-1]) * {"k": 1e3, "M": 1e6}[text[-1]]) if text[-1] in "kM" else int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=count, default=20_000)
    parser.add_argument("--out", type=Path, help="kept folder; without it a temporary one, checked and removed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--benchmark", type=Path, help="JSONL of problems to plant; MATH-500 where it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        made = generate(folder, options.rows, options.seed, options.workers, options.benchmark)
        print(f"{made['rows']} candidates, {made['bytes'] / 1e6:.0f} MB of text made in {made['seconds']:.1f} s")
        if not options.out:
            check(folder)


if __name__ == "__main__":
    main()
