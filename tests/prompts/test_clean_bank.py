"""The bank without near duplicates and without what is evaluated on; the index that it publishes."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from flows.prompts import Params
from tasks.curation.contamination import Benchmarks, benchmarks, prompt_decisions
from tasks.curation.policy import Benchmark, Decontamination
from tasks.prompts.bank import build
from tasks.prompts.columns import RawRow
from tasks.prompts.evaluation_sets import overlaps, publish
from tasks.prompts.near_duplicates import near_duplicates
from tasks.prompts.readers import SourceError
from tasks.prompts.sources import Reading, Source

ROOT = Path(__file__).resolve().parents[2]
WORDS = [
    f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "pe", "ri") for b in ("bat", "dok", "fel", "gim", "hus", "jop", "zan")
]


def source(name="s", **given) -> Source:
    base = {"name": name, "path": "x.jsonl", "columns": {"text": "q", "gold": "a"}, "licence": "MIT", "domain": "maths"}
    return Source(**(base | {"split": "train"} | given))


def reading(spec: Source, *texts: str, golds=None) -> Reading:
    rows = [RawRow(text, gold, None, "maths", "en", f"x.jsonl:{i}") for i, (text, gold) in
            enumerate(zip(texts, golds or ["1"] * len(texts)), 1)]  # fmt: skip
    return Reading(spec, rows)


def bank(tmp_path, *readings, threshold=0.8, policy=None, share=1.0):
    policy = policy or Decontamination()
    return build(
        list(readings), lambda rows: [None] * len(rows), 0.0, 0.0, 2000, share,
        overlap=lambda rows: overlaps(rows, policy, tmp_path),
        near=lambda texts: near_duplicates(texts, threshold, tmp_path / "work", 1),
    )  # fmt: skip


def sentence(rng: random.Random, words: int = 40) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def jaccard(a: str, b: str) -> float:
    grams = [{tuple(t.split()[i : i + 5]) for i in range(len(t.split()) - 4)} for t in (a, b)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def test_near_duplicates_are_those_of_exact_jaccard(tmp_path):
    rng = random.Random(0)
    texts = [sentence(rng) for _ in range(150)]
    for i in range(0, 60, 2):
        words = texts[i].split()
        for _ in range(rng.randint(0, 3)):
            words[rng.randrange(len(words))] = "other"
        texts.append(" ".join(words))
    found = near_duplicates(texts, 0.7, tmp_path, 2)
    for i, text in enumerate(texts):
        best = max((jaccard(text, kept) for j, kept in enumerate(texts[:i]) if found[j] is None), default=0)
        assert (found[i] is not None) == (best >= 0.7)
        if found[i]:
            kept, similarity, threshold = found[i]
            assert kept < i and found[kept] is None and threshold == 0.7
            assert similarity == pytest.approx(jaccard(text, texts[kept]))
    assert sum(f is not None for f in found) > 15 and not list(tmp_path.iterdir())


def test_no_texts_and_texts_shorter_than_an_n_gram(tmp_path):
    assert near_duplicates([], 0.9, tmp_path, 1) == []
    assert near_duplicates(["one two", "one two three"], 0.5, tmp_path, 1) == [None, None]


def test_a_near_duplicate_names_the_kept_row_and_the_final_one_stays(tmp_path):
    rng = random.Random(1)
    text = sentence(rng)
    near = text.rsplit(" ", 1)[0] + " end"
    final = reading(source("b", split="final"), near, sentence(rng), golds=["2", "3"])
    out = bank(tmp_path, reading(source("a"), text, "short"), final, policy=Decontamination(prompt_ngram=None))
    assert [(r["source"], r["text"][:5]) for r in out.rows if r["source"] == "a"] == [("a", "short")]
    decision = out.decisions[0]
    assert decision["rule"] == "near_duplicate" and decision["threshold"] == 0.8
    assert decision["value"] == pytest.approx(jaccard(text, near))
    assert "b x.jsonl:1, which is kept; its gold '1' differs from '2'" in decision["evidence"]
    assert out.repeats == {"a": {"b": 1}}


def test_equal_but_for_spacing_and_case_is_one_prompt(tmp_path):
    out = bank(tmp_path, reading(source(), "What  is\nx?", "what is x?", "What is y?"))
    assert [d["rule"] for d in out.decisions] == ["duplicate"]


def test_a_source_of_near_copies_stops_the_run(tmp_path):
    rng = random.Random(2)
    text = sentence(rng)
    copies = [f"{text} {word}" for word in WORDS[:6]]
    with pytest.raises(SourceError, match=r"source s: 5 of its 7 rows \(71%\)"):
        bank(tmp_path, reading(source(), *copies, sentence(rng)), share=0.5)


def test_procedural_rows_are_only_held_to_equality(tmp_path):
    text = sentence(random.Random(3))
    texts = [f"{text} 3 + 4", f"{text} 3 - 4", f"{text} 3 + 4"]
    policy = Decontamination(against=(listed(tmp_path, text),))
    out = bank(tmp_path, reading(source(procedural=True), *texts), policy=policy)
    assert len(out.rows) == 2 and [d["rule"] for d in out.decisions] == ["duplicate"]
    exact = bank(tmp_path, reading(source(procedural=True), text, *texts), policy=policy)
    assert [d["rule"] for d in exact.decisions] == ["prompt_exact", "duplicate"]


def test_the_bank_of_the_docs_is_a_valid_section():
    p = Params.model_validate(yaml.safe_load((ROOT / "benchmarks" / "prompt_bank.yaml").read_text()))
    assert len(p.sources) == 9 and len(p.decontamination.against) == 7 and p.near_duplicates == 0.9


def test_which_sources_are_procedural():
    gym = Source(name="g", gym="chain_sum", count=1, domain="maths", licence="x")
    kk = Source(name="k", path="x", format="knights_and_knaves", licence="x")
    assert gym.is_procedural and kk.is_procedural and not source().is_procedural
    assert not Source(name="k", path="x", format="zebra", licence="x", procedural=False).is_procedural


def listed(tmp_path: Path, *texts: str) -> Benchmark:
    (tmp_path / "bench.jsonl").write_text("".join(json.dumps({"problem": text}) + "\n" for text in texts))
    return Benchmark(name="bench", path="bench.jsonl", text="problem")


def test_prompts_that_an_evaluation_set_asks_are_rejected_with_their_item(tmp_path):
    rng = random.Random(4)
    asked, other, final = sentence(rng), sentence(rng), sentence(rng)
    policy = Decontamination(against=(listed(tmp_path, other, asked),))
    train = reading(source("a"), f"Please: {asked} Thanks.", asked.upper(), final, sentence(rng))
    out = bank(tmp_path, train, reading(source("f", split="final"), f"{final} more", asked), policy=policy)
    assert [(d["rule"], "bench.jsonl:2" in d["evidence"]) for d in out.decisions] == [
        ("prompt_ngram", True), ("prompt_exact", True), ("prompt_ngram", False),
    ]  # fmt: skip
    assert '"benchmark": "final:f"' in out.decisions[2]["evidence"]
    assert [r["source"] for r in out.rows] == ["a", "f", "f"], "final rows are what is evaluated on"


def test_without_evaluation_sets_nothing_is_compared(tmp_path):
    assert overlaps([], Decontamination(), tmp_path) == []
    assert len(bank(tmp_path, reading(source(), "a question")).rows) == 1


def test_the_published_index_stands_for_the_final_split_without_its_text(tmp_path):
    rng = random.Random(5)
    asked, final, puzzle = sentence(rng), sentence(rng), sentence(rng)
    policy = Decontamination(against=(listed(tmp_path, asked),))
    rows = [{"source": "f", "id": "prompt_1", "text": final}, {"source": "kk", "id": "prompt_2", "text": puzzle}]
    assert publish(rows, {"kk"}, policy, tmp_path, tmp_path / "index") == 3
    for file in (tmp_path / "index").iterdir():
        assert not any(t[:20].encode() in file.read_bytes() for t in (asked, final, puzzle))
    index = Benchmarks.load(tmp_path / "index")
    assert index.names == ("bench", "final:f", "final:kk") and index.items[1:] == ("prompt_1", "prompt_2")
    (tmp_path / "bench.jsonl").unlink()
    later = Decontamination(against=(Benchmark(name="bank", path="index"),))
    problems = benchmarks(later, tmp_path)
    texts = pa.array([f"so {asked} so", f"so {final} so", f"so {puzzle} so", puzzle])
    kept = [[d["keep"] for d in found] for found in prompt_decisions(texts, problems, later).to_pylist()]
    assert kept == [[True, False], [True, False], [True, True], [False, True]]
    sizes = np.diff(index.grams[13][0])
    assert sizes[1] == 28 and sizes[2] == 0, "puzzles share their template: known by equality alone"
