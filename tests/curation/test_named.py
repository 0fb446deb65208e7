"""Columns that a policy names: the result follows from the rows, whatever file, type or place they come in."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.curation.columns import INTERNAL, MEASURES, OPTIONAL
from tasks.curation.curate import curate
from tasks.curation.errors import CurationError
from tasks.curation.policy import Deduplication, Policy, Selection
from tests.curation.made_candidates import candidate, curated, write


def policy(**selection) -> Policy:
    given = {"verdict": None, **selection}
    return Policy(deduplication=Deduplication(exact=False), selection=Selection.model_validate(given))


BAND = policy(bands=[{"column": "probe", "at_most": 0}])


def kept(inputs, chosen, out) -> list[str]:
    curated(inputs, chosen, out)
    return pq.read_table(out / "kept.parquet")["id"].to_pylist()


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("other", [{"probe": 0.5}, {}])
def test_the_order_of_files_decides_nothing(tmp_path, other):
    for first, second in (("a", "b"), ("b", "a")):
        folder = tmp_path / first
        folder.mkdir()
        one = lines(folder / f"{first}.jsonl", [candidate(1) | {"probe": 0}])
        two = lines(folder / f"{second}.jsonl", [candidate(2) | other])
        for inputs in ([one, two], [two, one]):
            assert kept(inputs, BAND, folder / "out") == [candidate(1)["id"]]


def test_a_number_that_is_text_is_refused_before_texts_are_read(tmp_path):
    path = write(tmp_path / "a.parquet", [candidate(1) | {"probe": "0", "tags": ["x"]}])
    with pytest.raises(CurationError, match="selection: the policy needs 'probe' as a number, but it is string"):
        curated([path], BAND, tmp_path / "out")
    with pytest.raises(CurationError, match="'domain' as a number"):
        curated([path], policy(bands=[{"column": "domain", "at_most": 0}]), tmp_path / "out")
    with pytest.raises(CurationError, match="'tags' as text or a number"):
        curated([path], policy(caps=[{"rule": "few", "by": "tags", "each": 1}]), tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tokens", "a measure of the text, but the files have a column 'tokens' too"), ("Tokens", "something else"),
        *((n, "something else") for n in ("exact", "passes", "shard", "position", "row", "filename", "Domain")),
        ("prompt", "lack"),
    ],
)  # fmt: skip
def test_a_column_that_means_something_else_is_refused(tmp_path, name, said):
    path = write(tmp_path / "a.parquet", [{**candidate(1), name: 1 if name != "prompt" else "x"}])
    with pytest.raises(CurationError, match=f"selection: the policy names '{name}'.*{said}"):
        curated([path], policy(bands=[{"column": name, "at_most": 5}]), tmp_path / "out")


def test_our_measures_and_columns_can_be_named_and_the_files_own_pass_rate_goes_before(tmp_path):
    rows = [candidate(i, "word " * (i + 1)) | {"pass_rate": i / 4, "words_latin": i, "flag": i == 2} for i in range(4)]
    path = write(tmp_path / "a.parquet", rows)
    ids = [row["id"] for row in rows]
    for column, bounds, places in (
        ("tokens", {"at_least": 3}, [2, 3]), ("index", {"above": 2}, [3]), ("pass_rate", {"at_most": 0.25}, [0, 1]),
        ("words_latin", {"below": 1}, [0]), ("flag", {"above": 0}, [2]), ("samples", {"at_least": 4}, [0, 1, 2, 3]),
    ):  # fmt: skip
        found = kept([path], policy(bands=[{"column": column, **bounds}]), tmp_path / "out")
        assert found == sorted(ids[i] for i in places)
    assert len(kept([path], policy(caps=[{"rule": "each", "by": "flag", "each": 1}]), tmp_path / "out")) == 2


def test_the_lists_of_names_are_those_of_the_table_of_measures(tmp_path):
    path = write(tmp_path / "a.parquet", [candidate(1)])
    curate([path], policy(), tmp_path / "out", work=tmp_path / "work", keep_work=True, picture=False)
    [made] = (tmp_path / "work").rglob("shards/*.parquet")
    ours = {"id", "prompt_id", *OPTIONAL, *MEASURES, *INTERNAL}
    later = {"row", "shard", "passes", "filename", "prompt_findings", "text_findings"}
    assert set(pq.read_schema(made).names) == ours - later


def test_a_policy_without_any_rule_keeps_everything(tmp_path):
    rows = [candidate(i) for i in range(5)]
    out = tmp_path / "out"
    assert kept([write(tmp_path / "a.parquet", rows)], policy(), out) == sorted(row["id"] for row in rows)
    assert pq.read_metadata(out / "decisions.parquet").num_rows == 0
    from tasks.curation.story import story

    assert story(out, rows[0]["id"])["kept"]
    curate([tmp_path / "a.parquet"], policy(), tmp_path / "drawn")
    assert (tmp_path / "drawn" / "funnel.png").stat().st_size


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_one_column_of_the_files_can_be_two_of_ours(tmp_path, suffix):
    rows = [{k: v for k, v in candidate(i).items() if k != "text"} for i in range(8)]
    path = tmp_path / f"a.{suffix}"
    pq.write_table(pa.Table.from_pylist(rows), path) if suffix == "parquet" else lines(path, rows)
    curated([path], policy(per_prompt=1), tmp_path / "out", {"text": "prompt"})
    found = pq.read_table(tmp_path / "out" / "kept.parquet").to_pylist()
    assert len(found) == 2 and all(row["text"] == row["prompt"] for row in found)
