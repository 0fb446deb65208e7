"""Evaluation sets as hashes, and what they decide of candidates."""

import json

import numpy as np
import pyarrow as pa
import pytest

from tasks.curation.contamination import Benchmarks, benchmarks, merged, prompt_decisions, text_decisions
from tasks.curation.kernel import Spec, measure
from tasks.curation.policy import Benchmark, Decontamination
from tasks.prompts.readers import SourceError

LONG = "A train leaves the station at nine in the morning and travels north at sixty miles an hour till noon; where?"
OTHER = "Seven friends share a very large pizza that was cut into fifty six equal slices before any of them came home"


@pytest.fixture()
def root(tmp_path):
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps({"q": q}) + "\n" for q in ("What is 2+2?", LONG, "")))
    (tmp_path / "more.json").write_text(json.dumps([{"text": OTHER}, {"text": LONG.upper()}]))
    return tmp_path


def policy(**changes):
    against = (Benchmark(name="quiz", path="quiz.jsonl", text="q"), Benchmark(name="more", path="more.json"))
    return Decontamination(against=against, **changes)


def test_prompts(root):
    rules = policy()
    problems = benchmarks(rules, root)
    assert problems.names == ("quiz",) * 3 + ("more",) * 2 and problems.items[1] == "quiz.jsonl:2"
    prompts = ["what is  2 + 2 ?", f"Hi! {LONG} Think.", "What is 2-2?", "what is  2 + 2 ?", f"é {OTHER[:60]}", ""]
    found = prompt_decisions(pa.array(prompts), problems, rules).to_pylist()
    assert [[f["rule"] for f in row] for row in found] == [["prompt_exact", "prompt_ngram"]] * 6
    exact, ngram = zip(*found)
    assert [f["keep"] for f in exact] == [False, True, True, False, True, True]
    assert json.loads(exact[0]["evidence"]) == {"benchmark": "quiz", "item": "quiz.jsonl:1"}
    assert [f["keep"] for f in ngram] == [True, False, True, True, True, True]
    said = json.loads(ngram[1]["evidence"])
    assert said["span"] == LONG[:-1] and said["item"] == "quiz.jsonl:2" and said["coverage"] == 1.0
    assert ngram[1]["value"] == 1.0 and 0 < ngram[4]["value"] < rules.prompt_coverage == ngram[4]["threshold"]
    strict = prompt_decisions(pa.array(prompts), problems, policy(prompt_coverage=0)).to_pylist()
    assert [row[1]["keep"] for row in strict] == [True, False, True, True, False, True]
    assert json.loads(strict[4][1]["evidence"])["span"].startswith("Seven friends")


def test_texts(root):
    rules = policy(text_ngram=5)
    problems = benchmarks(rules, root)
    texts = pa.array([f"<think>So: {LONG}</think> 180", "<think>Two and two.</think> 4", None])
    found = text_decisions(measure(texts, Spec(), problems.text_index(rules)), problems, rules).to_pylist()
    assert [[f["keep"] for f in row] for row in found] == [[False], [True], [True]]
    said = json.loads(found[0][0]["evidence"])
    start, end = said["bytes"]
    assert texts[0].as_py().encode()[start:end].decode() == LONG[:-1] and said["benchmark"] == "quiz"


def test_rules_that_are_off_decide_nothing(root):
    off = policy(prompt_exact=False, prompt_ngram=None, text_ngram=None)
    problems = benchmarks(off, root)
    assert prompt_decisions(pa.array(["x", LONG]), problems, off).to_pylist() == [[], []]
    assert problems.text_index(off) is None
    none = benchmarks(Decontamination(), root)
    assert prompt_decisions(pa.array(["x"]), none, Decontamination()).to_pylist() == [[]]
    assert text_decisions(measure(pa.array(["x"])), none, Decontamination()).to_pylist() == [[]]


def test_published_index_decides_alike_and_holds_no_text(root):
    rules = policy()
    problems = benchmarks(rules, root)
    problems.save(root / "index")
    data = b"".join(p.read_bytes() for p in sorted((root / "index").iterdir()))
    assert b"train" not in data and b"friends" not in data
    again = benchmarks(Decontamination(against=(Benchmark(name="all", path="index"),)), root)
    assert again.sha() == problems.sha() == Benchmarks.load(root / "index").sha()
    prompts = pa.array([LONG, "What is 2+2?", "other"])
    assert prompt_decisions(prompts, again, rules).equals(prompt_decisions(prompts, problems, rules))
    problems.save(root / "twice")
    for name in ("grams.parquet", "items.parquet"):
        assert (root / "index" / name).read_bytes() == (root / "twice" / name).read_bytes()


def test_the_sha_changes_with_what_decides(root):
    problems = benchmarks(policy(), root)
    (root / "more.json").write_text(json.dumps([{"text": OTHER}, {"text": LONG.upper() + " now"}]))
    assert benchmarks(policy(), root).sha() != problems.sha() != benchmarks(policy(text_ngram=12), root).sha()


def test_boilerplate_counts_different_problems(root):
    """An n-gram of three different problems is left out at a limit of two; one problem in three sets is not."""
    stem = "let m and n be relatively prime positive integers and find"
    rows = [f"{stem} {x} of all the things that we have seen so far today" for x in ("one", "two", "three")]
    (root / "quiz.jsonl").write_text("".join(json.dumps({"q": q}) + "\n" for q in rows))
    rules = policy(max_document_frequency=2)
    part = benchmarks(rules, root)
    all_of_it = merged([part, part, part], [8, 13])
    index = all_of_it.index(8, 2)
    assert len(index.names) == 15 and (index.sizes > 0).all()
    value = prompt_decisions(pa.array([stem]), all_of_it, rules).to_pylist()[0][1]["value"]
    assert value == 0.0
    assert (
        prompt_decisions(pa.array([stem]), all_of_it, policy(max_document_frequency=3)).to_pylist()[0][1]["value"] > 0
    )


@pytest.mark.parametrize("damage", ["lacks n", "wrong columns", "no parquet"])
def test_bad_index(root, damage):
    folder = root / "index"
    benchmarks(policy(prompt_ngram=9), root).save(folder)
    if damage == "wrong columns":
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"hash": np.arange(3)}), folder / "grams.parquet")
    elif damage == "no parquet":
        (folder / "items.parquet").write_bytes(b"PAR1 this is none")
    says = {
        "lacks n": "index: has no 8-grams",
        "wrong columns": "grams.parquet: columns",
        "no parquet": "items.parquet: no readable",
    }
    with pytest.raises(SourceError, match=says[damage]):
        benchmarks(Decontamination(against=(Benchmark(name="x", path="index"),)), root)
