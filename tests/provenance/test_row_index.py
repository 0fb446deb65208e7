"""Ids found by bisection: the same keys in Python and in DuckDB, runs of equal ids, ids of any form."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.provenance.artifacts import ArtifactError, write_manifest, write_rows
from tasks.provenance.row_index import RowIndex, Runs, key_of
from tasks.provenance.rows_at import Files
from tasks.provenance.tables import tables
from tasks.rows import COMPLETION, DECISION, row_id

IDS = [
    *(row_id("completion", i=i) for i in range(300)), "", "x", "a1b2", "0" * 31, "f" * 32, "F" * 32, "prompt_é漢",
    "row 17 of a.jsonl", "completion_zz" + "0" * 30, "id\nwith\tsigns'\"",
]  # fmt: skip


@pytest.fixture
def candidates(tmp_path):
    rows = [dict.fromkeys(COMPLETION.names) | {"id": id, "prompt_id": f"p{i // 4}"} for i, id in enumerate(IDS)]
    write_rows(tmp_path / "data" / "c", "candidates", rows, COMPLETION)
    write_manifest(tmp_path / "data" / "c", stage="candidates")
    return tmp_path


def test_every_id_is_found_whatever_its_form(candidates):
    [table] = tables(candidates / "data")
    index = RowIndex([table], candidates / "index")
    index.build()
    for place, id in enumerate(IDS):
        [(_, runs)] = index.find("id", id)
        assert place in {n for run in runs for n in run}
    [(_, [run])] = index.find("prompt_id", "p3")
    assert run == range(12, 16)
    assert list(index.find("id", row_id("completion", i=-1))) == []


def test_equal_ids_in_several_places_and_nulls(tmp_path):
    ids = ["a", "a", None, "b", "a", None, "b", "b"]
    rows = [dict.fromkeys(DECISION.names) | {"row_id": id} for id in ids]
    write_rows(tmp_path / "data", "decisions", rows, DECISION)
    write_manifest(tmp_path / "data", stage="reasoning")
    index = RowIndex(tables(tmp_path), tmp_path / "index")
    index.build()
    assert next(index.find("row_id", "a"))[1] == [range(2), range(4, 5)]
    assert next(index.find("row_id", "b"))[1] == [range(3, 4), range(6, 8)]


def test_keys_keep_the_order_of_ids():
    ids = sorted(row_id("prompt", i=i) for i in range(50))
    assert [key_of(id) for id in ids] == sorted(key_of(id) for id in ids)


def test_rows_by_number_read_only_their_row_groups(tmp_path):
    pq.write_table(
        pa.table({"n": range(100), "t": [f"text {i}" for i in range(100)]}), tmp_path / "f.parquet", row_group_size=8
    )
    files = Files()
    assert files.rows(tmp_path / "f.parquet", [99, 0, 8, 7, 8]) == [{"n": n, "t": f"text {n}"} for n in (0, 7, 8, 99)]
    assert files.rows(tmp_path / "f.parquet", [50], ["n"]) == [{"n": 50}]


def test_a_row_group_is_decoded_column_by_column_and_no_further_than_its_row(tmp_path, monkeypatch):
    rows = [
        {"id": f"row {i}", "stage": None if i % 7 == 3 else f"s{i % 3}", "of": [i, None], "text": f"{i}" * 9}
        for i in range(10_000)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "f.parquet", row_group_size=4000)
    decoded, begun = [], pq.ParquetFile.iter_batches

    def counted(file, *args, columns, **more):
        for batch in begun(file, *args, columns=columns, **more):
            decoded.append((columns, len(batch)))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    files, path = Files(), tmp_path / "f.parquet"
    assert files.rows(path, [5100], ["id"]) == [{"id": "row 5100"}]
    assert decoded == [(["id"], 1024)] * 2
    assert files.rows(path, [4003, 5100]) == [rows[4003], rows[5100]]
    assert decoded[2:] == [(["stage", "of", "text"], 1024)] * 2
    asked = [9999, 0, 3999, 4000, 1023, 1024, 7999, 8000, 3, 10]
    assert files.rows(path, asked) == [rows[n] for n in sorted(asked)] and files.rows(path, [7999]) == [rows[7999]]
    with pytest.raises(ArtifactError, match="fewer rows"):
        files.rows(path, [10_000])


def test_a_damaged_row_group_is_told_however_often_it_is_asked_for(tmp_path):
    path = tmp_path / "f.parquet"
    pq.write_table(
        pa.table({"text": [f"{i} of many" * 9 for i in range(4000)]}), path, compression="zstd", use_dictionary=False
    )
    data = bytearray(path.read_bytes())
    data[200:600] = bytes(400)
    path.write_bytes(data)
    files = Files()
    for _ in range(3):
        with pytest.raises(ArtifactError, match=r"f\.parquet (cannot be read|ends before)"):
            files.rows(path, [3999])


def test_an_empty_index_file_has_no_runs(tmp_path):
    (tmp_path / "none").write_bytes(b"")
    assert Runs.read(tmp_path / "none").find(7) == []


@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"files": []}', '{"files": {"a": {"columns": {}}}}'])
def test_a_broken_manifest_is_named(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ArtifactError, match="manifest.json"):
        tables(tmp_path)


@pytest.mark.parametrize("name", ["../x.parquet", "/etc/x.parquet", "a\\u0000.parquet"])
def test_a_file_outside_its_folder_is_refused(tmp_path, name):
    _manifest(tmp_path, name, "0" * 64)
    with pytest.raises(ArtifactError, match="outside"):
        tables(tmp_path)


@pytest.mark.parametrize("digest", ["../../x", "0" * 63, ""])
def test_a_sha256_that_is_none_is_refused(tmp_path, digest):
    """The first characters of it become the name of a file."""
    _manifest(tmp_path, "a.parquet", digest)
    with pytest.raises(ArtifactError, match="sha256 of 'a.parquet' is none"):
        tables(tmp_path)


def _manifest(folder, name: str, digest: str) -> None:
    entry = f'{{"columns": {{"id": "string"}}, "rows": 1, "sha256": "{digest}", "bytes": 1}}'
    (folder / "manifest.json").write_text(f'{{"files": {{"{name}": {entry}}}}}')
