import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tasks.prompts.readers import SourceError
from tasks.prompts.sources import Source, listing_sha, read_source

ROWS = [{"q": "What is 1+1?", "a": "2"}, {"q": "What is 2+2?", "a": "4"}, {"q": "多少，3+3？", "a": "6"}]


def source(**given) -> Source:
    base = {"name": "s", "licence": "MIT", "domain": "maths"}
    if "path" in given or "hub" in given:
        base["columns"] = {"text": "q", "gold": "a"}
    return Source(**{**base, **given})


def write(path, rows=ROWS):
    lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if name.endswith(".json"):
        lines = json.dumps(rows)
    elif name.endswith((".csv", ".tsv")):
        import io

        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), delimiter="\t" if name.endswith(".tsv") else ",")
        writer.writeheader()
        writer.writerows(rows)
        lines = out.getvalue()
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


NAMES = ["x.jsonl", "x.jsonl.gz", "x.json", "x.json.gz", "x.csv", "x.csv.gz", "x.tsv", "x.parquet"]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_rows(tmp_path, name):
    write(tmp_path / name)
    rows = read_source(source(path=name), tmp_path, 0).rows
    assert [(r.text, r.gold) for r in rows] == [(r["q"], r["a"]) for r in ROWS]
    assert all(r.origin.startswith(name) and r.origin[-1].isdigit() for r in rows)


def test_origin_is_the_line_even_after_blank_and_multiline_rows(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"q":"x","a":"1"}\n\n{"q":"y","a":"2"}\n')
    assert [r.origin for r in read_source(source(path="a.jsonl"), tmp_path, 0).rows] == ["a.jsonl:1", "a.jsonl:3"]
    (tmp_path / "a.csv").write_text('q,a\n"two\nlines",1\ny,2\n')
    assert [r.origin for r in read_source(source(path="a.csv"), tmp_path, 0).rows] == ["a.csv:2", "a.csv:4"]


def test_directories_and_globs_are_read_in_order(tmp_path):
    (tmp_path / "d").mkdir()
    write(tmp_path / "d" / "b.jsonl", ROWS[1:2])
    write(tmp_path / "d" / "a.json", ROWS[:1])
    (tmp_path / "d" / "README.md").write_text("not data")
    for path in ("d", "d/*.js*"):
        reading = read_source(source(path=path), tmp_path, 0)
        assert [r.text for r in reading.rows] == [ROWS[0]["q"], ROWS[1]["q"]]
        assert sorted(reading.files) == ["d/a.json", "d/b.jsonl"]


def test_paths_may_lead_out_of_the_repository(tmp_path):
    (tmp_path / "repo").mkdir()
    write(tmp_path / "x.jsonl")
    assert read_source(source(path="../x.jsonl"), tmp_path / "repo", 0).rows[0].origin == "../x.jsonl:1"


def test_dotted_columns_numbers_and_gold_pattern(tmp_path):
    rows = [{"m": [{"content": "How many?"}], "r": {"gt": "so\n#### 1\nno\n#### 1,080"}, "n": 7}]
    write(tmp_path / "x.jsonl", rows)
    columns = {"text": "m.0.content", "gold": "r.gt", "id": "n"}
    row = read_source(source(path="x.jsonl", columns=columns, gold_pattern=r"####\s*(.+)$"), tmp_path, 0).rows[0]
    assert (row.text, row.gold, row.meta) == ("How many?", "1,080", {"id": "7"})


def test_limit_reads_the_first_rows(tmp_path):
    write(tmp_path / "x.jsonl")
    assert len(read_source(source(path="x.jsonl", limit=2), tmp_path, 0).rows) == 2


def test_the_hub_route_loads_through_datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "train.jsonl")
    reading = read_source(source(hub="set", revision="0" * 40), tmp_path, 0)
    assert [r.text for r in reading.rows] == [r["q"] for r in ROWS]
    assert reading.rows[1].origin == f"hub:set@{'0' * 40}#2"
    with pytest.raises(SourceError, match="source s: the Hub data set .*hub_split"):
        read_source(source(hub="set", revision="0" * 40, hub_split="nothing"), tmp_path, 0)


def test_gym_rows_carry_their_entry_and_follow_the_seed(tmp_path):
    spec = source(gym="chain_sum", count=5, config={"max_terms": 3})
    first, again, other = (read_source(spec, tmp_path, seed).rows for seed in (0, 0, 1))
    assert first == again != other
    assert first[0].meta["gym"] == "chain_sum" and first[0].meta["entry"]["answer"] == first[0].gold
    with pytest.raises(SourceError, match="no task 'chain_sums'; nearest: chain_sum"):
        read_source(source(gym="chain_sums", count=1), tmp_path, 0)
    with pytest.raises(SourceError, match="refuses the config of chain_sum"):
        read_source(source(gym="chain_sum", count=1, config={"terms": 3}), tmp_path, 0)


def test_families(tmp_path):
    sums = read_source(source(family="running_sums", count=4), tmp_path, 0).rows
    assert len(sums) == 4 and all(r.gold.lstrip("-").isdigit() and "<think>" in r.solution for r in sums)
    general = read_source(source(family="general", count=500, domain=None), tmp_path, 0).rows
    assert {"qa", "writing", "safety"} <= {r.domain for r in general} and all(r.gold is None for r in general)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("x.jsonl", b'{"q":"a","a":"1"}\n{"q": broken\n', r"source s: x.jsonl:2: no valid JSON"),
        ("x.jsonl", b"[1]\n", r"x.jsonl:1: is a list"),
        ("x.jsonl", b"", "source s: is empty"),
        ("x.json", b"[]", "source s: is empty"),
        ("x.json", b"{", "x.json: no valid JSON"),
        ("x.jsonl", b"\xff\xfe\x00", "not UTF-8"),
        ("x.jsonl.gz", b"no gzip", "cannot be read"),
        ("x.jsonl.gz", gzip.compress(b'{"q":"a","a":"1"}\n' * 99, mtime=0)[:-20], "cannot be read"),
        ("x.parquet", b"PAR1 nothing", "no readable Parquet"),
        ("x.csv", b"q,a\n1,2\n1,2,3\n", r"x.csv:3: 3 fields, but the header has 2"),
        ("x.csv", b"q,q\n1,2\n", r"x.csv:1: a column name stands twice"),
        (
            "x.jsonl",
            b'{"question":"a","answer":"1"}\n',
            r"no column 'q' \(columns.text in params.yaml\); there is: question, answer",
        ),
        ("x.txt", b"a", "unknown format"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_source(source(path=name), tmp_path, 0)


@pytest.mark.parametrize(
    "path, message", [("no.jsonl", "no such file"), ("*.jsonl", "no file matches"), (".", "no file of a known format")]
)
def test_missing_files_are_named(tmp_path, path, message):
    with pytest.raises(SourceError, match=f"source s: .*{message}"):
        read_source(source(path=path), tmp_path, 0)


def test_a_later_row_without_a_column_is_no_error_but_a_rejection(tmp_path):
    write(tmp_path / "x.jsonl", [ROWS[0], {"q": "no gold"}, {"q": ["x"], "a": "1"}])
    rows = read_source(source(path="x.jsonl"), tmp_path, 0).rows
    assert rows[1].gold is None
    assert rows[2].problem == ("text_type", "column 'q' holds a list, not text")


def test_a_pinned_file_that_changed_is_refused(tmp_path):
    write(tmp_path / "x.jsonl")
    digest = listing_sha(read_source(source(path="x.jsonl"), tmp_path, 0).files)
    assert read_source(source(path="x.jsonl", sha256=digest), tmp_path, 0).rows
    write(tmp_path / "x.jsonl", ROWS[:2])
    with pytest.raises(SourceError, match="the data changed"):
        read_source(source(path="x.jsonl", sha256=digest), tmp_path, 0)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"path": "x", "hub": "y"}, "exactly one of path, hub, gym, family"),
        ({}, "exactly one of path"),
        ({"path": "x", "columns": {"text": "q"}}, "`columns` needs `gold`"),
        ({"hub": "x", "revision": "main"}, "40 hex digits"),
        ({"path": "x", "gold_pattern": "####.+"}, "0 groups"),
        ({"path": "x", "gold_pattern": "("}, "no regex"),
        ({"path": "x", "count": 3}, "`count` means nothing beside `path`"),
        ({"gym": "chain_sum"}, "`gym` needs `count`"),
        ({"family": "sums", "count": 1}, "family"),
        ({"path": "x", "licence": ""}, "licence"),
        ({"path": "x", "domain": "math"}, "domain"),
        ({"path": "x", "domain": None}, "give its domain"),
        ({"path": "x", "split": "test"}, "split"),
        ({"path": "x", "colums": {}}, "colums"),
    ],
)
def test_bad_entries_fail_before_any_reading(given, message):
    with pytest.raises(ValidationError, match=message):
        source(**given)
