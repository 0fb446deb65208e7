"""Files of a result: row groups that the data alone decide, pruning by id, and the story of a row."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.curation import export
from tasks.curation.errors import CurationError
from tasks.curation.export import _layout
from tasks.curation.story import story
from tasks.rows import DECISION
from tests.curation.made_candidates import POLICY, candidates, curated, write


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 1000), max_size=80), st.integers(1, 12), st.integers(1, 2500), st.integers(1, 5000))
def test_row_groups_cover_all_rows_in_order_within_their_limits(sizes, most, group_bytes, bucket_bytes):
    before = export.KEPT_ROWS, export.KEPT_BYTES, export.BUCKET_BYTES
    export.KEPT_ROWS, export.KEPT_BYTES, export.BUCKET_BYTES = most, group_bytes, bucket_bytes
    try:
        rows = np.arange(len(sizes)) * 3
        shuffle = np.random.default_rng(len(sizes)).permutation(len(sizes))
        groups, buckets = _layout(rows[shuffle], np.array(sizes, np.int64)[shuffle])
    finally:
        export.KEPT_ROWS, export.KEPT_BYTES, export.BUCKET_BYTES = before
    at = 0
    for cut, (first, last) in zip(groups, buckets, strict=True):
        assert cut[0][0] == 0 and rows[at] == first and rows[at + cut[-1][1] - 1] == last
        for (_, stop), (start, _) in zip(cut, cut[1:]):
            assert stop == start
        for start, stop in cut:
            size = sum(sizes[at + start : at + stop])
            assert 0 < stop - start <= most and (size <= group_bytes or stop - start == 1)
        at += cut[-1][1]
    assert at == len(sizes)


def test_small_groups_buckets_and_runs_give_the_same_rows(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", candidates(), group=50)
    curated([path], POLICY, tmp_path / "large")
    for name, value in {"GROUP": 16, "RANGE": 48, "KEPT_ROWS": 5, "BUCKET_BYTES": 3000, "RUN_BYTES": 5000}.items():
        monkeypatch.setattr(export, name, value)
    curated([path], POLICY, tmp_path / "small")
    for name in ("kept", "decisions", "outcomes", "prompts"):
        small, large = (pq.read_table(tmp_path / size / f"{name}.parquet") for size in ("small", "large"))
        assert small.equals(large)
    assert pq.read_metadata(tmp_path / "small" / "kept.parquet").num_row_groups >= 20
    assert (tmp_path / "small" / "funnel.json").read_bytes() == (tmp_path / "large" / "funnel.json").read_bytes()


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A result whose files have many row groups."""
    folder = tmp_path_factory.mktemp("run")
    before = export.GROUP
    export.GROUP = 16
    try:
        curated([write(folder / "a.parquet", candidates())], POLICY, folder / "out")
    finally:
        export.GROUP = before
    return folder / "out"


def test_decisions_have_their_schema_and_disjoint_ranges_of_ids(out):
    assert pq.read_schema(out / "decisions.parquet").equals(DECISION)
    for name, column in (("decisions", 0), ("outcomes", 0)):
        meta = pq.read_metadata(out / f"{name}.parquet")
        ranges = [meta.row_group(i).column(column).statistics for i in range(meta.num_row_groups)]
        assert len(ranges) > 10 and all(a.max < b.min for a, b in zip(ranges, ranges[1:]))


def test_the_story_of_every_row_agrees_with_the_files(out):
    decisions = pq.read_table(out / "decisions.parquet").to_pylist()
    given = {r["id"]: r for r in candidates()}
    for id in list(given)[:40]:
        found = story(out, id)
        assert [d["rule"] for d in found["decisions"]] == [d["rule"] for d in decisions if d["row_id"] == id]
        assert found["row"] == (given[id] if found["kept"] else None)
        prompt = given[id]["prompt_id"]
        assert {s["id"] for s in found["siblings"]} == {k for k, r in given.items() if r["prompt_id"] == prompt} - {id}


def test_the_story_of_a_duplicate_names_the_row_that_stays_and_the_other_way_round(out):
    pairs = pq.read_table(out / "near_duplicates.parquet").to_pylist()
    pair = next(p for p in pairs if p["kind"] == "near")
    loser, winner = story(out, pair["id"]), story(out, pair["kept_id"])
    assert pair["kept_id"] in [o["id"] for o in loser["duplicate_of"]] and not loser["kept"]
    assert pair["id"] in [o["id"] for o in winner["duplicates"]]
    assert any(pair["kept_id"] in (d["evidence"] or "") for d in loser["decisions"] if not d["keep"])


def test_a_story_of_nobody_and_of_no_result(out, tmp_path):
    with pytest.raises(CurationError, match="no candidate has the id 'nobody; --' in"):
        story(out, "nobody; --")
    with pytest.raises(CurationError, match="is no result of `r1 curate`"):
        story(tmp_path, "x")


def test_kept_columns_keep_their_types(out):
    schema = pq.read_schema(out / "kept.parquet")
    assert schema.field("score").type == pa.float64() and schema.field("index").type == pa.int64()
    assert schema.names[:4] == ["id", "prompt_id", "prompt", "text"]
