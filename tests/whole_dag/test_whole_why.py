"""`r1 why` on the real DAG: rows of every kind of every table have a chain to a source."""

import json
import random

import pyarrow.parquet as pq
import pytest

from flows.cli.why_quickly import open_books
from tasks.provenance.chain import chain

PER_TABLE = 3


@pytest.fixture(scope="module")
def books(built, tmp_path_factory):
    return open_books(built[0], tmp_path_factory.mktemp("index"))


def test_rows_of_every_table_have_their_chain(books):
    """Arbitrary rows of all kinds: what the chain says is what the tables say, looked up another way."""
    assert not books.index.missing()
    kinds: dict[str, int] = {}
    for table in books.tables:
        other_models = table.stage.startswith("evaluate@") and table.stage != "evaluate@r1"
        if table.kind in ("other", "verdict") or not table.rows or other_models:
            continue
        rows = pq.read_table(table.file).to_pylist()
        for row in random.Random(table.name).sample(rows, min(PER_TABLE, len(rows))):
            found = chain(books, row.get("id") or row["row_id"])
            json.dumps(found)
            kinds[found["kind"]] = kinds.get(found["kind"], 0) + 1
            if table.kind == "decision":
                artifact = books.name(table.artifact)
                assert any(d["artifact"] == artifact and d["rule"] == row["rule"] for d in found["decisions"])
            elif table.kind == "completion":
                assert found["completion"]["text"] == row["text"] and found["completion"]["checkpoint"]
                assert found["prompt"]["origin"] and found["prompt"]["licence"]
                assert len(found["siblings"]) == sum(_same(row, other) for other in rows) - 1
            elif table.kind == "sft_example":
                assert {s["artifact"] for s in found["sets"]} >= {books.name(table.artifact)}
                assert (found["checkpoints"] or found["decisive"]) and (found["prompt"] or found["annotation"])
    assert {"prompt", "completion", "sft_example", "preference_pair", "safety_label"} <= kinds.keys()
    reviewed = books.annotations[0]
    assert chain(books, reviewed["id"])["annotation"]["line"] == reviewed["line"] == 1


def _same(row: dict, other: dict) -> bool:
    return all(row[name] == other[name] for name in ("prompt_id", "model", "settings"))


def test_a_kept_row_of_the_union_leads_to_its_students(built, books):
    rows = pq.read_table(built[0] / "data/13_sft_data/examples.parquet").to_pylist()
    sampled = [r for r in rows if r["completion_id"]]  # none, where models this small were never right
    row = (sampled or rows)[0]
    found = chain(books, row["completion_id"] or row["id"])
    if sampled:
        assert found["decisive"] is None and found["verdict"]["status"] == "ok"
    made_in = "data/11_reasoning" if sampled else "data/12_non_reasoning"
    assert {s["artifact"] for s in found["sets"]} == {made_in, "data/13_sft_data"}
    assert {"data/14_dev3", "data/17_r1", "data/18_distill/qwen"} <= {c["artifact"] for c in found["checkpoints"]}
