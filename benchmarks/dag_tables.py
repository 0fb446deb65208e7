"""Tables in the shape of the DAG's at any size, every row with its real id and every book in order, for the lineage tools.

    .venv/bin/python benchmarks/dag_tables.py [DIR] [--candidates 3000000] [--characters 600]

DIR/data holds prompts, candidates (four for each prompt), verdicts, the reasoning set with all its decisions, the
non-reasoning set, their union, checkpoints and one evaluation: 3,000,000 candidates make 800,000 examples. `planted.json`
has an id of every fate with what must be said of it. No texts of any meaning, and no weights. Without DIR, 30,000 in a
temporary folder.

The fates of a prompt's candidates (0 to 3): every fifth prompt has only wrong ones; else 0 is kept, 1 is a near
duplicate of 0, 2 is wrong, and 3 is in turn truncated, of mixed language, or contaminated.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tasks.curation.examples import example  # noqa: E402
from tasks.curation.export import NEAR, OUTCOME  # noqa: E402
from tasks.provenance.artifacts import write_manifest, write_rows  # noqa: E402
from tasks.rows import COMPLETION, DECISION, PROMPT, SFT_EXAMPLE, VERDICT, row_id  # noqa: E402

K = 4  # candidates of a prompt
SMALL = 30_000  # candidates, where no folder is named
GROUP = 4096  # candidates in a row group of decisions, as `r1 curate` writes them
SETTINGS = {"max_tokens": 32768, "seed": 7, "temperature": 1.0, "template": "300bbd060e20", "top_p": 1.0}
RULES = (  # stage, rule, value of one that passes, threshold, as the reasoning set of recipe cpu has them
    ("filters", "mixed_language", 1.0, 0.999), ("filters", "long_paragraph", 94.0, 600.0),
    ("filters", "code_block", 0.0, 0.0), ("filters", "truncated", 1.0, 1.0), ("filters", "bad_format", 1.0, 1.0),
    ("filters", "repeated_ngrams", 0.0, 0.5), ("decontamination", "prompt_exact", 0.0, 1.0),
    ("decontamination", "text_coverage", 0.0, 0.5), ("deduplication", "exact_duplicate", None, 1.0),
    ("deduplication", "normal_duplicate", None, 1.0), ("deduplication", "near_within_prompt", None, 0.9),
    ("deduplication", "near_across_prompts", None, 0.9), ("selection", "verdict", 1.0, 1.0),
    ("selection", "per_prompt", 1.0, 2.0),
)  # fmt: skip
FAILS = {  # rule -> the value it fails with
    "mixed_language": 0.5, "truncated": 0.0, "text_coverage": 0.75, "near_within_prompt": 0.95, "verdict": 0.0
}  # fmt: skip
WORDS = [f"{a}{b}" for a in ("ka", "lo", "mi", "tu", "re", "so", "ven", "dar") for b in ("n", "rim", "sta", "pel", "q")]


@dataclass(frozen=True)
class Fate:
    """What becomes of one candidate: the rule that rejects it (None: kept), its evidence, the one it repeats."""

    rule: str | None
    evidence: str | None = None
    kept_id: str | None = None


def fates(place: int, ids: list[str], evaluated: str) -> list[Fate]:
    """Of the candidates `ids` of the prompt at `place`; `evaluated` is a problem of the evaluation."""
    wrong = Fate("verdict", "wrong")
    if place % 5 == 4:
        return [wrong] * K
    last = (
        Fate("truncated"),
        Fate("mixed_language", "language en"),
        Fate("text_coverage", f"covers {evaluated} of final:sums"),
    )[place % 3]
    return [Fate(None), Fate("near_within_prompt", f"near {ids[0]}", ids[0]), wrong, last]


def prompt(
    source: str, domain: str, number: int, split: str, text: str, gold: str | None, solution: str | None
) -> dict:
    licence, file = ("MIT", "data/raw/sums.jsonl") if source == "sums" else ("CC-BY-4.0", "data/raw/general.jsonl")
    return {
        "id": row_id("prompt", source=source, domain=domain, text=text, gold=gold), "source": source, "domain": domain,
        "split": split, "text": text, "gold": gold, "solution": solution, "language": "en", "licence": licence,
        "origin": f"{file}:{number + 1}", "meta": None,
    }  # fmt: skip


def sums(first: int, count: int, split: str) -> list[dict]:
    return [
        prompt("sums", "maths", i, split, f"Compute {i} + {i % 97} - {i % 13}", str(i + i % 97 - i % 13), None)
        for i in range(first, first + count)
    ]


def checkpoint(folder: Path, name: str, stage: str, params: dict | None = None) -> str:
    """A checkpoint without weights; the sha256 by which its completions know it."""
    (folder / name).mkdir(parents=True)
    (folder / name / "model.safetensors").write_bytes(f"no weights: {name}".encode())
    manifest = write_manifest(folder / name, stage=stage, seed=0, code="0" * 16, params=params or {})
    return manifest["files"]["model.safetensors"]["sha256"]


def completion(asked: dict, model: str, index: int, text: str) -> dict:
    what = {"prompt": asked["id"], "model": model, "engine": "transformers", "settings": SETTINGS, "index": index}
    return {
        "id": row_id("completion", **what, text=text), "prompt_id": asked["id"], "model": model,
        "engine": "transformers", "settings": json.dumps(SETTINGS, sort_keys=True), "index": index, "text": text,
        "tokens": len(text) // 4, "finish": "stop", "logprob": -0.1 * len(text),
    }  # fmt: skip


def answer(asked: dict, index: int, right: bool, characters: int) -> str:
    """Words without meaning about the prompt, and an answer."""
    rng = random.Random(f"{asked['id']} {index}")
    words = " ".join(rng.choices(WORDS, k=characters // 5))
    said = asked["gold"] if right else f"{asked['gold']}{index}"
    return f"<think>\n{asked['text']}: {words}\n</think>\n\nThe result is \\boxed{{{said}}}."


def verdict(id: str, asked: dict, right: bool, index: int) -> dict:
    gold = asked["gold"]
    return {
        "completion_id": id, "prompt_id": asked["id"], "status": "ok" if right else "wrong",
        "extracted": gold if right else f"{gold}{index}", "gold": gold, "method": "maths/fast", "detail": "",
        "verifier": "bbc1c5eb25388e82",
    }  # fmt: skip


def decide(row: str, stage: str, rule: str, value: float | None, threshold: float | None, keep: bool, why: str | None):
    return dict(zip(DECISION.names, (row, stage, rule, value, threshold, keep, why), strict=True))


class Groups:
    """A Parquet file written a row group at a time, in the encodings of `r1 curate`."""

    def __init__(self, path: Path, schema: pa.Schema):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.writer = pq.ParquetWriter(path, schema, compression="zstd", store_schema=False)

    def write(self, table: pa.Table) -> None:
        self.writer.write_table(table, row_group_size=max(1, len(table)))


def write_decisions(folder: Path, decided: list[tuple[str, str, Fate]]) -> None:
    """decisions, outcomes and near_duplicates of (id, prompt_id, fate), by id: all rules for every candidate."""
    decided = sorted(decided, key=lambda d: d[0])
    coded = pa.schema(
        [
            f.with_type(pa.dictionary(pa.int32(), f.type)) if f.name in ("row_id", "stage", "rule") else f
            for f in DECISION
        ]
    )
    decisions, outcomes, near = (
        Groups(folder / f"{name}.parquet", schema)
        for name, schema in (("decisions", coded), ("outcomes", OUTCOME), ("near_duplicates", NEAR))
    )
    stages = {rule: stage for stage, rule, *_ in RULES}
    for start in range(0, len(decided), GROUP):
        group = decided[start : start + GROUP]
        decisions.write(_decisions(group, coded))
        reasons = [(stages.get(f.rule), f.rule) for *_, f in group]
        columns = [*map(list, zip(*[(i, p, f.rule is None) for i, p, f in group])), *map(list, zip(*reasons))]
        outcomes.write(pa.table(columns, schema=OUTCOME))
    pairs = [(i, f.kept_id, 0.95, "within_prompt", "near") for i, _, f in decided if f.kept_id]
    for start in range(0, len(pairs), 8 * GROUP):
        near.write(pa.table([list(c) for c in zip(*pairs[start : start + 8 * GROUP])], schema=NEAR))
    for table in (decisions, outcomes, near):
        table.writer.close()


def _decisions(group: list[tuple[str, str, Fate]], schema: pa.Schema) -> pa.Table:
    n, wide = len(group), len(RULES)
    names = pa.array([rule for _, rule, *_ in RULES])
    places = pa.array([i for i in range(n) for _ in range(wide)], pa.int32())
    values, keeps, evidence = [r[2] for r in RULES] * n, [True] * (n * wide), [None] * (n * wide)
    where = {rule: j for j, (_, rule, *_) in enumerate(RULES)}
    for i, (_, _, fate) in enumerate(group):
        if fate.rule:
            at = i * wide + where[fate.rule]
            values[at], keeps[at], evidence[at] = FAILS[fate.rule], False, fate.evidence
    columns = {
        "row_id": pa.DictionaryArray.from_arrays(places, pa.array([id for id, *_ in group])),
        "stage": pa.array([r[0] for r in RULES] * n).dictionary_encode(),
        "rule": pa.DictionaryArray.from_arrays(pa.array(list(range(wide)) * n, pa.int32()), names),
        "value": pa.array(values, pa.float64()), "threshold": pa.array([r[3] for r in RULES] * n, pa.float64()),
        "keep": pa.array(keeps), "evidence": pa.array(evidence, pa.string()),
    }  # fmt: skip
    return pa.table([columns[name] for name in schema.names], schema=schema)


def sampled(
    folder: Path, name: str, verdicts: Path, asked: list[dict], model: str, characters: int, fate_of: Callable
) -> tuple[list, list]:  # fmt: skip
    """Write K completions for each prompt and their verdicts; ([(prompt, text, id) of the kept], [(id, prompt_id, fate)]).

    `fate_of(place, ids)`: what becomes of the completions of a prompt; a right answer unless its rule is `verdict`.
    """
    kept, out = [], []

    def rows() -> Iterator[dict]:
        for place, p in enumerate(asked):
            right = [f.rule != "verdict" for f in fate_of(place, [""] * K)]
            group = [completion(p, model, i, answer(p, i, right[i], characters)) for i in range(K)]
            for row, fate in zip(group, fate_of(place, [r["id"] for r in group]), strict=True):
                out.append((row["id"], p["id"], fate))
                if fate.rule is None:
                    kept.append((p, row["text"], row["id"]))
                yield row

    write_rows(folder, name, rows(), COMPLETION)
    judged = (verdict(id, asked[n // K], f.rule != "verdict", n % K) for n, (id, _, f) in enumerate(out))
    write_rows(verdicts.parent, verdicts.name, judged, VERDICT)
    return kept, out


def generate(folder: Path, candidates: int, characters: int = 600, too_long: int = 10_000) -> dict:
    """Everything under `folder`/data; the planted answers, also in planted.json. `candidates` is a multiple of 60; each
    `too_long`-th example is left out of the union."""
    data, facts = folder / "data", {"seed": 0, "code": "0" * 16}
    count = candidates // K
    train, final = sums(0, count, "train"), sums(count, 1000, "final")
    general = [
        prompt("general", "qa", i, "train", f"What is the {i}th word of {WORDS[i % 40]}?", None, f"It is word {i}.")
        for i in range(candidates // 15)
    ]
    dropped = [_dropped(train, i) for i in range(max(1, count // 100))]
    params = {"prompts": {"sources": [
        {"name": "sums", "path": "data/raw/sums.jsonl", "licence": "MIT", "domain": "maths"},
        {"name": "general", "path": "data/raw/general.jsonl", "licence": "CC-BY-4.0", "domain": "qa"},
    ]}}  # fmt: skip
    write_rows(data / "01_prompts", "train", [*train, *general], PROMPT)
    write_rows(data / "01_prompts", "validation", [], PROMPT)
    write_rows(data / "01_prompts", "decisions", dropped, DECISION)
    write_rows(data / "01_final", "final", final, PROMPT)
    for name in ("01_prompts", "01_final"):
        write_manifest(data / name, stage="prompts", params=params, **facts)
    dev2 = checkpoint(data, "08_dev2", "dev2")
    asked = sorted(train, key=lambda p: p["id"])
    kept, decided = sampled(
        data / "09_candidates", "candidates", data / "10_verdicts" / "verdicts", asked, dev2, characters,
        lambda place, ids: fates(place, ids, final[place % 1000]["id"]),
    )  # fmt: skip
    write_rows(data / "09_candidates", "prompts", [], PROMPT)
    write_rows(data / "09_candidates", "decisions", [], DECISION)
    write_manifest(data / "09_candidates", stage="candidates", params={}, **facts)
    write_manifest(data / "10_verdicts", stage="verdicts", params={}, **facts)
    examples, general_examples = _sets(data, facts, kept, decided, general, too_long)
    checkpoint(data, "14_dev3", "dev3")
    model = checkpoint(data, "17_r1", "r1")
    checkpoint(data, "18_distill/qwen", "distill@qwen")
    there = data / "20_evaluate" / "r1"
    write_rows(there, "problems", final, PROMPT)
    _, evaluated = sampled(
        there, "samples", there / "verdicts", final, model, characters,
        lambda place, ids: [Fate(None if place % 2 else "verdict")] * K,
    )  # fmt: skip
    write_manifest(there, stage="evaluate@r1", params={}, **facts)
    planted = _planted(decided, dropped, examples, general_examples, evaluated, train, too_long)
    (folder / "planted.json").write_text(json.dumps(planted, indent=1) + "\n")
    return planted


def _dropped(train: list[dict], i: int) -> dict:
    """The decision on a row of the source that repeats the i-th prompt."""
    origin, kept = f"data/raw/sums.jsonl:{2_000_000_000 + i}", f"sums {train[i]['origin']}"
    evidence = f"sums {origin}: same text as {kept}, which is kept"
    return decide(row_id("row", source="sums", origin=origin), "prompts", "duplicate", 1.0, 0.0, False, evidence)


def _sets(
    data: Path, facts: dict, kept: list, decided: list, general: list[dict], too_long: int
) -> tuple[list[dict], list[dict]]:  # fmt: skip
    """The reasoning and non-reasoning sets and their union, which leaves out each `too_long`-th."""
    reasoning, other, union = data / "11_reasoning", data / "12_non_reasoning", data / "13_sft_data"
    examples = [example(p, text, id, "candidates") for p, text, id in sorted(kept, key=lambda k: k[2])]
    write_rows(reasoning, "examples", examples, SFT_EXAMPLE)
    write_decisions(reasoning, decided)
    write_manifest(reasoning, stage="reasoning", params={}, **facts)
    drawn = [example(p, p["solution"]) for p in general]
    write_rows(other, "examples", drawn, SFT_EXAMPLE)
    used = (decide(p["id"], "non_reasoning", "drawn", 1.0, 1.0, True, "used 1 times") for p in general)
    write_rows(other, "decisions", used, DECISION)
    write_manifest(other, stage="non_reasoning", params={}, **facts)
    everything = [*examples, *drawn]
    long = [i % too_long == too_long - 1 for i in range(len(everything))]
    write_rows(union, "examples", (e for e, cut in zip(everything, long) if not cut), SFT_EXAMPLE)
    lengths = (
        decide(e["id"], "sft_data", "max_tokens", 300.0 if cut else 100.0, 256.0, not cut, None)
        for e, cut in zip(everything, long)
    )
    write_rows(union, "decisions", lengths, DECISION)
    write_manifest(union, stage="sft_data", params={}, **facts)
    return examples, drawn


def _planted(
    decided: list, dropped: list, examples: list, drawn: list, evaluated: list, train: list, too_long: int
) -> dict:
    """Fate -> {id, and what must be said of it}."""
    first = {}
    for id, prompt_id, fate in decided[len(decided) // 3 :]:
        first.setdefault(fate.rule or "kept", {"id": id, "prompt_id": prompt_id, "kept_id": fate.kept_id})
    middle = len(examples) // 2
    return first | {
        "dropped_prompt": {"id": dropped[-1]["row_id"], "rule": "duplicate", "kept_id": train[len(dropped) - 1]["id"]},
        "example": {"id": examples[middle]["id"], "completion_id": examples[middle]["completion_id"]},
        "general_example": {"id": drawn[len(drawn) // 2]["id"], "prompt_id": drawn[len(drawn) // 2]["prompt_id"]},
        "prompt": {"id": examples[middle]["prompt_id"]},
        "evaluated": {"id": evaluated[-1][0], "prompt_id": evaluated[-1][1]},
        **(
            {"too_long": {"id": examples[too_long - 1]["id"], "rule": "max_tokens"}}
            if len(examples) >= too_long
            else {}
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="without it a temporary one")
    parser.add_argument("--candidates", type=int, help="3,000,000, in a temporary folder 30,000")
    parser.add_argument("--characters", type=int, default=600, help="of a response, about")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if (folder / "data").exists():
            sys.exit(f"{folder / 'data'} exists; delete it first")
        candidates = options.candidates or (3_000_000 if options.folder else SMALL)
        print(json.dumps(generate(folder, candidates, options.characters), indent=1))


if __name__ == "__main__":
    main()
