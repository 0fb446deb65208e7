"""Verdicts of `r1 verify` beside candidates of JSON lines: joined by line or by id, and never to another row."""

import json

import pyarrow.parquet as pq
import pytest

from tasks.curation.errors import CurationError
from tasks.curation.policy import Policy
from tests.curation.made_candidates import candidate, curated, write


def lines(path, rows):
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows))
    return path


ROWS = [{k: v for k, v in candidate(i).items() if k != "verdict"} for i in range(6)]
STATUSES = ["ok", "wrong", "ok", "infra", "timeout", "ok"]
RIGHT = {row["id"] for row, status in zip(ROWS, STATUSES) if status == "ok"}


def kept(inputs, verdicts, folder, **settings) -> list[dict]:
    curated(inputs, Policy(), folder / "out", verdicts=verdicts, **settings)
    return pq.read_table(folder / "out" / "kept.parquet").to_pylist()


@pytest.mark.parametrize("named", [True, False])
def test_in_the_order_of_one_file_past_blank_and_bad_lines(tmp_path, named):
    said = [({"id": r["id"]} if named else {}) | {"status": s} for r, s in zip(ROWS, STATUSES)]
    path = lines(tmp_path / "a.jsonl", [*ROWS[:2], "\n", "no row\n", *ROWS[2:]])
    verdicts = lines(tmp_path / "v", [*said[:2], {"status": "infra"}, *said[2:]])
    found = kept([path], verdicts, tmp_path, max_bad_share=1)
    assert {row["id"] for row in found} == RIGHT and {row["verdict"] for row in found} == {"ok"}
    verdicts = lines(tmp_path / "v", [{"status": "ok"}] * 7)
    assert len(kept([path], verdicts, tmp_path, max_bad_share=1)) == 6, "other verdicts, another result"


def test_by_id_for_several_files(tmp_path):
    paths = [lines(tmp_path / f"{n}.jsonl", ROWS[n::2]) for n in range(2)]
    said = [{"id": r["id"], "status": s} for r, s in zip(ROWS, STATUSES)]
    assert {row["id"] for row in kept(paths, lines(tmp_path / "v", said[::-1]), tmp_path)} == RIGHT
    with pytest.raises(CurationError, match=rf"0\.jsonl:1: .*no verdict for id '{ROWS[0]['id']}'"):
        kept(paths, lines(tmp_path / "v", said[1:]), tmp_path)
    with pytest.raises(CurationError, match="several files need ids"):
        kept(paths, lines(tmp_path / "v", [{"status": "ok"}] * 6), tmp_path)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([{"status": "ok"}] * 5, "ends before, after 5"), ([{"status": "ok"}] * 7, "6 lines and .* 7 verdicts"),
        ([{"id": "z", "status": "ok"}] * 6, "line 1 of .* is of 'z'"), ([{"status": "fine"}], "v:1: status 'fine'"),
        (["[]\n"], "v:1 is no verdict"),
    ],
)  # fmt: skip
def test_verdicts_that_do_not_belong_to_the_rows_are_refused(tmp_path, said, message):
    with pytest.raises(CurationError, match=message):
        kept([lines(tmp_path / "a.jsonl", ROWS)], lines(tmp_path / "v", said), tmp_path)


def test_rows_with_verdicts_and_tables_are_refused(tmp_path):
    verdicts = lines(tmp_path / "v", [{"status": "ok"}])
    with pytest.raises(CurationError, match="has a verdict already"):
        kept([lines(tmp_path / "a.jsonl", [candidate(1)])], verdicts, tmp_path)
    with pytest.raises(CurationError, match="joined to JSON lines"):
        kept([write(tmp_path / "a.parquet", ROWS)], verdicts, tmp_path)
    with pytest.raises(CurationError, match="no such file of verdicts"):
        kept([tmp_path / "a.jsonl"], tmp_path / "none", tmp_path)
