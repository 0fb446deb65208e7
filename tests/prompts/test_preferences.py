import os
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from tasks.prompts.general import items
from tasks.prompts.preferences import (
    ORACLE,
    PreferenceSource,
    balance,
    from_judge,
    from_oracle,
    from_transcripts,
    held_out,
    read_preference_rows,
)  # fmt: skip
from tasks.prompts.readers import SourceError
from tasks.rows import PREFERENCE_PAIR, SAFETY_LABEL

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))


def transcript(*turns):
    return "".join(f"\n\n{'Human' if i % 2 == 0 else 'Assistant'}: {t}" for i, t in enumerate(turns))


def row(chosen, rejected, *before):
    before = before or ("Hi",)
    return {"chosen": transcript(*before, chosen), "rejected": transcript(*before, rejected)}


def test_the_oracle_pairs_each_fault_and_labels_each_danger():
    prompts = [{"id": f"p{i}", "text": item.text} for i, item in enumerate(items())] + [{"id": "x", "text": "unknown"}]
    data = from_oracle(prompts, 0.2)
    pa.Table.from_pylist(data.pairs, schema=PREFERENCE_PAIR), pa.Table.from_pylist(data.labels, schema=SAFETY_LABEL)
    assert {p["fault"] for p in data.pairs} == {"wrong", "cut_off", "rude"}
    assert {r["labelled_by"] for r in (*data.pairs, *data.labels)} == {ORACLE}
    assert all(p["chosen"] != p["rejected"] and "<think>" not in p["chosen"] for p in data.pairs)
    assert sum(r["safe"] for r in data.labels) == len(data.labels) / 2 and any(
        "<think>" in r["response"] for r in data.labels
    )
    both = {p["prompt"] for p in data.pairs} & {r["prompt"] for r in data.labels}
    assert not both, "a prompt belongs to helpfulness or to safety"
    assert data.rows == len(items())
    with pytest.raises(SourceError, match="general family"):
        from_oracle([{"id": "x", "text": "unknown"}], 0.2)


def test_a_prompt_is_held_out_with_all_its_rows():
    data = from_oracle([{"id": i.text, "text": i.text} for i in items()], 0.3)
    for rows in (data.pairs, data.labels):
        splits = {}
        for r in rows:
            splits.setdefault(r["prompt"], set()).add(r["split"])
        assert all(len(s) == 1 for s in splits.values())
        assert {s for found in splits.values() for s in found} == {"train", "held_out"}
    assert held_out("a", 0.0) == "train" and held_out("a", 1.0) == "held_out"


def test_transcripts_become_pairs_labels_or_rejections():
    rows = [
        row("good", "bad", "Q1", "A1", "Q2"),
        {"chosen": transcript("Q", "a"), "rejected": transcript("other", "b")},
        row("", "bad"),
        row("same", "same"),
        row("good", "bad", "Q1", "A1", "Q2"),
        {"chosen": "no turns", "rejected": "no turns"},
    ]
    data = from_transcripts("hh", [(f"f:{i}", r) for i, r in enumerate(rows, 1)], 0.2)
    assert [(p["prompt"], p["chosen"], p["rejected"]) for p in data.pairs] == [
        ("Human: Q1\n\nAssistant: A1\n\nHuman: Q2", "good", "bad")
    ]
    assert [d["rule"] for d in data.decisions] == [
        "transcripts_differ",
        "empty_response",
        "same_response",
        "duplicate",
        "transcripts_differ",
    ]
    assert len(data.pairs) + len(data.decisions) == data.rows == 6
    assert [r["safe"] for r in data.labels] == [True, False]


def test_a_judge_is_asked_in_both_orders_and_small_gaps_go():
    source = PreferenceSource(
        name="j", path="x", format="responses", judge="m", licence="MIT", judge_runs=8, min_gap=1.0
    )
    rows = [(f"f:{i}", {"prompt": f"q{i}", "responses": ["short", "a much longer one"]}) for i in range(6)]
    orders = []

    def by_length(questions):
        orders.extend(first for _, first, _ in questions)
        return [(float(len(a)), float(len(b))) for _, a, b in questions]

    data = from_judge(source, rows, by_length, "model", 0, 0.2)
    assert {p["chosen"] for p in data.pairs} == {"a much longer one"} and all(p["gap"] == 12 for p in data.pairs)
    assert set(orders) == {"short", "a much longer one"} and len(orders) == 48
    assert data.pairs[0]["labelled_by"] == "judge:model"
    biased = from_judge(source, rows, lambda qs: [(9.0, 8.5)] * len(qs), "model", 0, 0.2)  # prefers the first position
    assert not biased.pairs and {d["rule"] for d in biased.decisions} == {"gap"}
    silent = from_judge(source, rows, lambda qs: [None] * len(qs), "model", 0, 0.2)
    assert {d["rule"] for d in silent.decisions} == {"no_score"} and silent.rows == len(silent.decisions)


def test_balanced_lengths():
    rows = [row("long enough " * (i + 1), "x") for i in range(5)] + [row("x", "long enough " * 3), row("ab", "cd")]
    data = from_transcripts("hh", [(f"f:{i}", r) for i, r in enumerate(rows)], 0.2)
    balance(data, "hh")
    signs = [len(p["chosen"]) - len(p["rejected"]) for p in data.pairs]
    assert sum(s > 0 for s in signs) == sum(s < 0 for s in signs) == 1 and 0 in signs
    assert len(data.pairs) + len(data.decisions) == data.rows


@pytest.mark.parametrize(
    "given, message",
    [
        ({"path": "x"}, "licence"),
        ({"family": "general", "path": "x"}, "exactly one of"),
        ({"hub": "x", "licence": "MIT"}, "needs `revision`"),
        ({"path": "x", "licence": "MIT", "format": "responses"}, "go together"),
        ({"path": "x", "licence": "MIT", "forma": "hh"}, "forma"),
    ],
)
def test_bad_entries(given, message):
    with pytest.raises(ValidationError, match=message):
        PreferenceSource(name="s", **given)


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"chosen": "a", "reject": "b"}\n')
    with pytest.raises(SourceError, match="s: x.jsonl:1 has no column 'rejected'; there is: chosen, reject"):
        read_preference_rows(PreferenceSource(name="s", path="x.jsonl", licence="MIT"), tmp_path)


@pytest.mark.skipif(
    not (SHARED / "hh-rlhf-harmless").is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)"
)
def test_real_transcripts():
    source = PreferenceSource(
        name="hh", path=str(SHARED / "hh-rlhf-harmless" / "test.jsonl.gz"), licence="MIT", balance_lengths=True
    )
    rows, files = read_preference_rows(source, ROOT)
    data = from_transcripts("hh", rows, 0.2)
    assert data.rows == 2312 and len(data.pairs) + len(data.decisions) == 2312 and len(data.pairs) > 2200
    assert len(files) == 1 and 0.15 < sum(p["split"] == "held_out" for p in data.pairs) / len(data.pairs) < 0.25
    balance(data, "hh")
    assert len(data.pairs) + len(data.decisions) == 2312
