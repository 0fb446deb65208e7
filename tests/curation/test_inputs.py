"""Files of candidates: which are read, what is refused and how the message names it, what a bad line becomes."""

import gzip
import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.curation.errors import CurationError
from tasks.curation.inputs import agreed, checked_source, different, find_sources, read_sums, register, shards_of
from tasks.curation.shards import batches
from tests.curation.made_candidates import candidate, candidates, write


def registered(paths, work, columns=None, size=1 << 20):
    sources = [checked_source(source, {}) for source in find_sources(paths)]
    return register(sources, columns or {}, work, size)


def lines(path, rows):
    path.write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows))
    return path


def read(shards) -> list[dict]:
    return [row for shard in shards for _, batch in batches(shard, None) for row in batch.to_pylist()]


def test_files_folders_and_globs_each_once(tmp_path):
    a = write(tmp_path / "in" / "a.parquet", candidates(2))
    (tmp_path / "in" / "deep").mkdir()
    lines(tmp_path / "in" / "deep" / "b.jsonl", [candidate(9)])
    (tmp_path / "in" / "notes.txt").write_text("no candidates")
    (tmp_path / "in" / ".a.curate").mkdir()
    write(tmp_path / "in" / ".a.curate" / "part.parquet", candidates(2))
    found = find_sources([tmp_path / "in", a, str(tmp_path / "in" / "*.parquet")])
    assert [s.name for s in found] == ["a.parquet", "deep/b.jsonl"]


def test_a_path_that_looks_like_a_glob_or_like_sql_is_a_path(tmp_path):
    odd = write(tmp_path / "a[1] '; DROP TABLE measured; --.parquet", candidates(3))
    assert [s.path for s in find_sources([odd])] == [str(odd)]
    shards, _ = registered([odd], tmp_path / "w")
    assert len(read(shards)) == 3


@pytest.mark.parametrize("given", ["nothing.parquet", "no*.jsonl", "folder"])
def test_what_is_not_there_is_named(tmp_path, given):
    (tmp_path / "folder").mkdir()
    with pytest.raises(CurationError, match=given.replace("*", r"\*")):
        find_sources([tmp_path / given])


def test_the_same_bytes_twice_are_refused(tmp_path):
    paths = [write(tmp_path / name / "a.parquet", candidates(2)) for name in ("x", "y")]
    with pytest.raises(CurationError, match="same file twice"):
        different([checked_source(s, {}) for s in find_sources(paths)])


@pytest.mark.parametrize("book", ["manifest", "sidecar", "list"])
def test_a_flipped_bit_is_found_by_any_checksum(tmp_path, book):
    path = write(tmp_path / "a.parquet", candidates(50))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    sums = {}
    if book == "manifest":
        (tmp_path / "manifest.json").write_text(json.dumps({"files": {"a.parquet": {"sha256": digest}}}))
    elif book == "sidecar":
        (tmp_path / "a.parquet.sha256").write_text(f"{digest}  a.parquet\n")
    else:
        (tmp_path / "sums").write_text(f"{digest} *in/a.parquet\n")
        sums = read_sums(tmp_path / "sums")
    [source] = find_sources([path])
    assert checked_source(source, sums).sha256 == digest
    data = bytearray(path.read_bytes())
    data[200] ^= 4
    path.write_bytes(data)
    with pytest.raises(CurationError, match=r"a\.parquet is damaged: its sha256"):
        checked_source(source, sums)


@pytest.mark.parametrize("keep", [0, 3, 400])
def test_a_truncated_file_is_refused_by_name(tmp_path, keep):
    path = write(tmp_path / "a.parquet", candidates(50))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CurationError, match=r"a\.parquet is no whole Parquet file"):
        registered([path], tmp_path / "w")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": 5}, r"column 'text' is int64, but text must be text"),
        ({"id": 1.5}, r"column 'id' is double, but id must be text or whole numbers"),
        ({"index": "first"}, r"column 'index' is string, but index must be whole numbers"),
        ({"verdict": True}, r"column 'verdict' is bool, but verdict must be text"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(tmp_path, change, said):
    path = write(tmp_path / "a.parquet", [candidate(1) | change])
    with pytest.raises(CurationError, match=f"a.parquet: {said}"):
        registered([path], tmp_path / "w")


def test_a_missing_column_comes_with_the_remedy_and_the_remedy_works(tmp_path):
    rows = [{("completion" if k == "text" else k): v for k, v in candidate(i).items()} for i in range(3)]
    path = write(tmp_path / "a.parquet", rows)
    with pytest.raises(CurationError, match=r"column 'text' is missing.*--columns text=COLUMN"):
        registered([path], tmp_path / "w")
    shards, _ = registered([path], tmp_path / "w", {"text": "completion"})
    assert read(shards)[1]["text"] == candidate(1)["text"]
    with pytest.raises(CurationError, match="'completions' is none of"):
        registered([path], tmp_path / "w", {"completions": "completion"})


def test_a_column_that_would_be_overwritten_is_refused(tmp_path):
    path = write(tmp_path / "a.parquet", [candidate(1) | {"completion": "other"}])
    with pytest.raises(CurationError, match="would be overwritten"):
        registered([path], tmp_path / "w", {"text": "completion"})


def test_types_must_agree_between_files(tmp_path):
    a = write(tmp_path / "a.parquet", [candidate(1)])
    b = write(tmp_path / "b.parquet", [candidate(2) | {"id": 7}])
    shards, _ = registered([a, b], tmp_path / "w")
    with pytest.raises(CurationError, match=r"column 'id' is (string|int64) in .*\.parquet and (int64|string) in"):
        agreed(shards)
    c = write(tmp_path / "c.parquet", [{k: v for k, v in candidate(3).items() if k != "verdict"}])
    with pytest.raises(CurationError, match=r"a\.parquet has a column for 'verdict' and .*c\.parquet has none"):
        agreed(registered([a, c], tmp_path / "w")[0])


def test_extra_columns_get_a_common_type_and_nulls_where_absent(tmp_path):
    a = write(tmp_path / "a.parquet", [candidate(1) | {"n": 1, "only_a": "x"}])
    b = write(tmp_path / "b.parquet", [candidate(2) | {"n": 0.5}])
    schema = agreed(registered([a, b], tmp_path / "w")[0])
    assert schema.field("n").type == pa.float64() and schema.field("only_a").type == pa.string()
    c = write(tmp_path / "c.parquet", [candidate(3) | {"n": "many"}])
    with pytest.raises(CurationError, match="column 'n' is int64 in .*a.parquet and string in .*c.parquet"):
        agreed(registered([a, c], tmp_path / "w")[0])


def test_shards_follow_row_groups_and_lose_no_row(tmp_path):
    path = write(tmp_path / "a.parquet", candidates(100), group=7)
    [source] = find_sources([path])
    for size in (1, 5000, 1 << 30):
        shards = shards_of(source, path, "x", {}, False, size)
        assert [r["id"] for r in read(shards)] == [r["id"] for r in candidates(100)]
        assert [s.first for s in shards] == [sum(t.rows for t in shards[:i]) for i in range(len(shards))]
    assert len(shards) == 1


def test_every_type_of_text_that_parquet_can_hold(tmp_path):
    rows = candidates(6)
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        table = pa.Table.from_pylist(rows)
        table = table.set_column(
            table.schema.get_field_index("text"), "text", table["text"].combine_chunks().cast(kind)
        )
        pq.write_table(table, tmp_path / "a.parquet")
        assert [r["text"] for r in read(registered([tmp_path / "a.parquet"], tmp_path / "w")[0])] == [
            r["text"] for r in rows
        ]


BAD = {
    b"{not json": "no JSON",
    b'{"id": "z", "prompt_id": "p", "prompt": "q"}': "text is missing or null",
    b'{"id": null, "prompt_id": "p", "prompt": "q", "text": "t"}': "id is missing or null",
    b'{"id": "z", "prompt_id": "p", "prompt": "q", "text": 5}': "text is a number, not text",
    b'{"id": "z", "prompt_id": "p", "prompt": "q", "text": "\\ud800"}': "half a surrogate pair",
    b'{"id": "z", "prompt_id": "p", "prompt": "q", "text": "\xff\xfe"}': "no UTF-8 at byte",
    b'{"id": "z", "prompt_id": "p", "prompt": "q", "text": "t", "score": 12345678901234567890}': "more than 64 bits",
    b"[1, 2]": "a JSON list, no object",
    b'"text"': "a JSON str, no object",
}  # fmt: skip


def test_bad_lines_are_counted_with_file_and_line_and_the_rest_goes_on(tmp_path):
    rows = candidates(40)
    mixed = [*BAD, *rows[:20], b"", b"   ", *rows[20:]]
    path = lines(tmp_path / "a.jsonl", mixed)
    shards, bad = registered([path], tmp_path / "w")
    assert [r["id"] for r in read(shards)] == [r["id"] for r in rows]
    assert [b["line"] for b in bad] == list(range(1, len(BAD) + 1))
    assert all(reason in b["reason"] for reason, b in zip(BAD.values(), bad, strict=True))
    assert shards[0].place(0, read(shards)[0]["_line"]) == f"{path}:{len(BAD) + 1}"


def test_json_keeps_types_of_extra_columns_and_objects_as_text(tmp_path):
    rows = [candidate(i) | extra for i, extra in enumerate([{"n": 1}, {"n": 0.5, "m": {"a": [1]}}, {"flag": True}])]
    [shard], _ = registered([lines(tmp_path / "a.jsonl", rows)], tmp_path / "w")
    found = read([shard])
    assert [r["n"] for r in found] == [1.0, 0.5, None] and found[1]["m"] == '{"a": [1]}' and found[2]["flag"] is True
    with pytest.raises(CurationError, match=r"a\.jsonl: column 'n' is a number in line 1 and text in line 2"):
        registered([lines(tmp_path / "a.jsonl", [candidate(1) | {"n": 1}, candidate(2) | {"n": "x"}])], tmp_path / "w")


def test_gzip_byte_order_mark_crlf_and_large_rows(tmp_path):
    rows = candidates(5) + [candidate(99, "y" * 3_000_000)]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress("\ufeff".encode() + "\r\n".join(map(json.dumps, rows)).encode()))
    shards, bad = registered([path], tmp_path / "w")
    assert not bad and [r["text"] for r in read(shards)] == [r["text"] for r in rows]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CurationError, match="no whole gzip file"):
        registered([path], tmp_path / "w")


def test_conversion_happens_once(tmp_path):
    path = lines(tmp_path / "a.jsonl", candidates(5))
    first = registered([path], tmp_path / "w")
    [part] = (tmp_path / "w" / "converted").rglob("*.parquet")
    made = part.stat().st_mtime_ns
    assert registered([path], tmp_path / "w") == first and part.stat().st_mtime_ns == made


def test_an_empty_file_adds_no_rows(tmp_path):
    empty = write(tmp_path / "a.parquet", candidates(2)[:0], schema=pa.Table.from_pylist(candidates(2)).schema)
    (tmp_path / "b.jsonl").touch()
    assert registered([empty, tmp_path / "b.jsonl"], tmp_path / "w") == ([], [])
