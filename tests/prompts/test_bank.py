import os
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.curation.kernel.characters import normalised
from tasks.prompts.bank import build, estimate_tokens
from tasks.prompts.readers import SourceError
from tasks.prompts.sources import RawRow, Reading, Source, read_source
from tasks.prompts.split import split_of
from tasks.rows import DECISION, PROMPT
from tasks.verification.verify import gold_problems

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))


def spec(name="s", **given) -> Source:
    return Source(
        **{
            "name": name,
            "path": "x.jsonl",
            "columns": {"text": "q", "gold": "a"},
            "licence": "MIT",
            "domain": "maths",
            **given,
        }
    )


def raw(text, gold="1", number=1, **given) -> RawRow:
    return RawRow(
        **{
            "text": text,
            "gold": gold,
            "solution": None,
            "domain": "maths",
            "language": "en",
            "origin": f"x.jsonl:{number}",
            **given,
        }
    )


def bank(*readings, check=lambda rows: [None] * len(rows), **given):
    settings = {"validation_share": 0.05, "final_share": 0.1, "max_prompt_tokens": 50, "max_duplicate_share": 0.5}
    return build(list(readings), check, **{**settings, **given})


def test_every_row_is_kept_or_rejected_with_a_reason():
    rows = [
        raw("a question"),
        raw("   ", number=2),
        raw("word " * 60, number=3),
        raw("no gold", None, number=4),
        raw(" a\n question ", number=5),
        raw("typed", number=6, problem=("text_type", "a list")),
        raw("bad gold", "?", number=7),
    ]
    out = bank(
        Reading(spec(), rows), check=lambda asked: ["does not parse" if r["gold"] == "?" else None for r in asked]
    )
    assert [r["text"] for r in out.rows] == ["a question"]
    assert [d["rule"] for d in out.decisions] == [
        "empty_text",
        "prompt_tokens",
        "gold",
        "duplicate",
        "text_type",
        "gold",
    ]
    assert all(f"s x.jsonl:{n}:" in d["evidence"] for n, d in zip(range(2, 8), out.decisions))
    assert out.decisions[1]["value"] == 60 and out.decisions[1]["threshold"] == 50
    assert len({d["row_id"] for d in out.decisions}) == 6
    assert out.sources["s"]["dropped"] == {
        "duplicate": 1,
        "empty_text": 1,
        "gold": 2,
        "prompt_tokens": 1,
        "text_type": 1,
    }
    pa.Table.from_pylist(out.rows, schema=PROMPT), pa.Table.from_pylist(out.decisions, schema=DECISION)
    assert set(out.rows[0]) == set(PROMPT.names)


def test_duplicate_names_the_kept_row_and_a_differing_gold():
    out = bank(Reading(spec("a"), [raw("same", "1")]), Reading(spec("b"), [raw("same ", "2"), raw("other")]))
    assert (
        out.decisions[0]["evidence"]
        == "b x.jsonl:1: same text as a x.jsonl:1, which is kept; its gold '2' differs from '1'"
    )


def test_a_final_prompt_never_stands_in_train():
    train, final = spec("train", split="train"), spec("final", split="final")
    out = bank(Reading(train, [raw("shared"), raw("own")]), Reading(final, [raw("shared"), raw("last")]))
    assert {(r["source"], r["split"], r["text"]) for r in out.rows} == {
        ("train", "train", "own"), ("final", "final", "shared"), ("final", "final", "last"),
    }  # fmt: skip


def test_a_source_of_copies_stops_the_run():
    rows = [raw("one", number=1), raw("one", number=2), raw("one", number=3), raw("two", number=4)]
    assert len(bank(Reading(spec(), rows)).rows) == 2
    with pytest.raises(SourceError, match=r"source s: 2 of its 4 rows \(50%\).*max_duplicate_share 40%"):
        bank(Reading(spec(), rows), max_duplicate_share=0.4)


def test_a_source_of_which_nothing_is_left_stops_the_run():
    with pytest.raises(SourceError, match="not one of its 1 rows became a prompt.*empty_text"):
        bank(Reading(spec(), [raw(" ")]))


def test_splits_follow_the_content_and_ids_do_not_depend_on_the_order():
    rng = random.Random(0)
    rows = [raw(f"question {i}", str(i), i) for i in range(600)]
    out = bank(Reading(spec(), rows))
    shuffled = rng.sample(rows, len(rows))
    again = bank(Reading(spec(), shuffled))
    assert {r["id"]: r["split"] for r in out.rows} == {r["id"]: r["split"] for r in again.rows}
    counts = Counter(r["split"] for r in out.rows)
    assert 35 < counts["final"] < 90 and 12 < counts["validation"] < 55
    assert all(r["split"] == split_of(r["text"], 0.05, 0.1) for r in out.rows)


def test_in_is_kept_plus_rejected_on_random_input():
    rng = random.Random(7)
    for _ in range(20):
        rows = [
            raw(rng.choice(["", " a", "a", "b", "c " * rng.randint(1, 80)]), rng.choice([None, "1", "2"]), i)
            for i in range(30)
        ]
        out = bank(Reading(spec(), [raw("anchor", number=99), *rows]), max_duplicate_share=1.0)
        assert len(out.rows) + len(out.decisions) == 31
        texts = [normalised(r["text"]) for r in out.rows]
        assert len(texts) == len(set(texts)) and all(r["gold"] for r in out.rows)


def test_token_estimate():
    assert estimate_tokens("Compute 54 A-1") == 6
    assert estimate_tokens("结果是") == 3


@pytest.mark.skipif(not (SHARED / "gsm8k").is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)")
def test_real_rows_of_gsm8k_and_math_flow_through():
    gsm8k = Source(
        name="gsm8k", path=str(SHARED / "gsm8k" / "train.jsonl"), domain="maths", licence="MIT", limit=400,
        columns={"text": "question", "gold": "answer", "solution": "answer"}, gold_pattern=r"####\s*(.+)$",
    )  # fmt: skip
    maths = Source(
        name="math-train", path=str(SHARED / "math-train" / "math.json"), domain="maths", licence="MIT", limit=400,
        columns={"text": "problem", "gold": "answer"},
    )  # fmt: skip
    out = build([read_source(s, ROOT, 0) for s in (gsm8k, maths)], gold_problems, 0.05, 0.1, 160, 0.5)
    assert len(out.rows) + len(out.decisions) == 800
    by_source = Counter(r["source"] for r in out.rows)
    assert by_source["gsm8k"] > 380 and by_source["math-train"] > 300
    assert out.rows[0]["gold"] == "72" and out.rows[0]["origin"].endswith("gsm8k/train.jsonl:1")
    assert len(out.sources["gsm8k"]["sha256"]) == 1
    assert {d["rule"] for d in out.decisions} <= {"prompt_tokens", "gold", "duplicate"}
