"""Outputs of others as candidates: every one is kept with its file and line, or rejected with a rule."""

import json
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from tasks.prompts.readers import SourceError
from tasks.responses import parse
from tasks.rows import COMPLETION, DECISION, PROMPT
from tasks.sampling.imported import ImportedSource, imported_candidates
from tasks.verification.verify import gold_problems, verify_all

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
real = pytest.mark.skipif(not SHARED.is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)")
OWN = {
    "columns": {"text": "q", "gold": "a"},
    "domain": "maths",
    "completions": {"text": "r", "reasoning": "t", "model": "m"},
}


def write(tmp_path, rows, name="x.jsonl"):
    (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def source(**given):
    return ImportedSource(**({"name": "teacher", "path": "x.jsonl", "licence": "MIT"} | given))


def taken(tmp_path, rows, **given):
    write(tmp_path, rows)
    return imported_candidates(source(**(OWN | given)), tmp_path, gold_problems)


def test_rows_of_ones_own_keep_their_lineage(tmp_path):
    rows = [
        {"q": "1+1?", "a": "2", "r": "<answer>2</answer>", "t": "one and one", "m": "big-1"},
        {"q": "1+1?", "a": "2", "r": ["<answer>3</answer>", ""], "m": "big-2"},
        {"q": "2+2?", "a": "proof", "r": "<answer>4</answer>", "m": "big-1"},
    ]
    prompts, completions, rejected = taken(tmp_path, rows)
    assert len(prompts) == 1 and [c["index"] for c in completions] == [0, 1]
    assert completions[0]["text"] == "<think>\none and one\n</think>\n\n<answer>2</answer>"
    assert [c["model"] for c in completions] == ["big-1", "big-2"]
    assert [json.loads(c["settings"]) for c in completions] == [
        {"source": "teacher", "origin": f"x.jsonl:{line}", "output": 0} for line in (1, 2)
    ]
    assert [d["rule"] for d in rejected] == ["empty_text", "gold"]
    assert "x.jsonl:2 output 1" in rejected[0]["evidence"] and "'proof'" in rejected[1]["evidence"]
    for table, schema in ((prompts, PROMPT), (completions, COMPLETION), (rejected, DECISION)):
        assert pa.Table.from_pylist(table, schema=schema).num_rows == len(table)
    assert [v.status for v in verify_all(prompts * 2, [c["text"] for c in completions])] == ["ok", "wrong"]


def test_the_same_input_gives_the_same_ids_and_each_output_its_own(tmp_path):
    rows = [{"q": "1+1?", "a": "2", "r": ["<answer>2</answer>"] * 3, "m": "big"}] * 2
    once, again = taken(tmp_path, rows), taken(tmp_path, rows)
    assert once == again and len({c["id"] for c in once[1]}) == 6


def test_lists_in_several_columns_go_together(tmp_path):
    columns = {"text": "r", "finish": "f", "tokens": "n", "reasoning": "t"}
    rows = [{"q": "1+1?", "a": "2", "r": ["x", "y"], "f": ["stop", "length"], "n": [3, 4], "t": [None, "why"]}]
    _, completions, _ = taken(tmp_path, rows, completions=columns, model="big")
    assert [(c["finish"], c["tokens"], c["model"]) for c in completions] == [("stop", 3, "big"), ("length", 4, "big")]
    assert completions[1]["text"] == "<think>\nwhy\n</think>\n\ny"


def test_prompts_may_be_of_any_format(tmp_path):
    row = {"quiz": "Who?", "names": ["Ann"], "solution": [True], "r": "<answer>Ann is a knight</answer>"}
    write(tmp_path, [row, row | {"solution": []}])
    prompts, completions, rejected = imported_candidates(
        source(format="knights_and_knaves", completions={"text": "r"}), tmp_path
    )
    assert verify_all(prompts, [completions[0]["text"]])[0].ok and [d["rule"] for d in rejected] == [
        "format_knights_and_knaves"
    ]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"columns": {"text": "q"}, "domain": "qa"}, "under `completions`"),
        ({"format": "tora", "completions": {"text": "r"}}, "format tora says itself"),
        ({"path": None, "family": "general", "count": 3}, "from `path` or `hub`"),
        ({"format": "tora", "outputs": 3}, "outputs"),
    ],
)
def test_bad_entries(given, message):
    with pytest.raises(ValidationError, match=message):
        source(**given)


def test_an_empty_file_is_an_error(tmp_path):
    write(tmp_path, [])
    with pytest.raises(SourceError, match="source teacher: is empty"):
        imported_candidates(source(format="tora"), tmp_path)


@real
@pytest.mark.parametrize(
    "form, path, outputs, statuses",
    [
        ("zeroeval", "zeroeval-math/gsm", 2638, {"ok": 2506, "wrong": 132}),
        ("tora", "tora-outputs", 1319, {"ok": 1103, "wrong": 205, "unparsable": 11}),
        ("lineage_bench", "lineage-traces/deepseek-r1-0528.tar.gz", 160, {"ok": 126, "wrong": 34}),
        ("lineage_bench", "lineage-traces/qwen3-32b.tar.gz", 160, {"ok": 58, "wrong": 98, "unparsable": 4}),
    ],
)
def test_real_outputs_are_verified(form, path, outputs, statuses):
    given = source(path=str(SHARED / path), format=form)
    prompts, completions, rejected = imported_candidates(given, ROOT, gold_problems)
    assert len(completions) == outputs and rejected == []
    by_id = {p["id"]: p for p in prompts}
    verdicts = verify_all([by_id[c["prompt_id"]] for c in completions], [c["text"] for c in completions])
    assert Counter(v.status for v in verdicts) == statuses
    if form == "lineage_bench":
        assert all(parse(c["text"]).think for c in completions) and all(c["tokens"] for c in completions)


@real
def test_real_safety_traces_and_what_no_domain_verifies():
    prompts, completions, rejected = imported_candidates(
        source(path=str(SHARED / "star1-r1-safety"), format="star1", model="deepseek-r1"), ROOT, gold_problems
    )
    assert (len(prompts), len(completions), rejected) == (1000, 1000, [])
    assert all(parse(c["text"]).think for c in completions) and {p["domain"] for p in prompts} == {"safety"}
    given = source(path=str(SHARED / "zeroeval-math" / "crux"), format="zeroeval", limit=50)
    prompts, completions, rejected = imported_candidates(given, ROOT, gold_problems)
    assert prompts == completions == [] and Counter(d["rule"] for d in rejected) == {"format_zeroeval": 50}


@real
def test_real_reasoning_gym_results():
    path = str(SHARED / "reasoning-gym-eval-r1" / "easy.tar.gz" / "*" / "arithmetic" / "ch*.json")
    prompts, completions, rejected = imported_candidates(
        source(path=path, format="reasoning_gym_eval"), ROOT, gold_problems
    )
    assert len(completions) + len(rejected) == 150 and {d["rule"] for d in rejected} <= {"empty_text"}
    by_id = {p["id"]: p for p in prompts}
    verdicts = verify_all([by_id[c["prompt_id"]] for c in completions], [c["text"] for c in completions])
    scores = [json.loads(c["settings"])["score"] == 1.0 for c in completions]
    assert [v.ok for v in verdicts] == scores
