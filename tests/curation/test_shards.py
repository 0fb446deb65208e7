"""One pass over a shard: measures as the reference functions have them, bad rows set aside, texts found again."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.curation.errors import CurationError
from tasks.curation.inputs import checked_source, find_sources, register
from tasks.curation.kernel import Spec
from tasks.curation.shards import Scan, Texts, batches, malformed_rows, process_shard
from tasks.responses import parse, reasoning_language_share
from tests.curation.made_candidates import candidate, candidates, prose, response, write

SCAN = Scan(Spec(), openings=("I'm sorry", "Straße"))


def measured(path, tmp_path, scan=SCAN):
    """(measures by id, malformed rows) of one file."""
    shards, _ = register([checked_source(s, {}) for s in find_sources([path])], {}, tmp_path / "w")
    files = [process_shard(shard, scan, tmp_path) for shard in shards]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return {row["id"]: row for row in rows}, [bad for file in files for bad in malformed_rows(file)]


def test_measures_agree_with_the_reference_functions(tmp_path):
    rows = candidates(48)
    found, bad = measured(write(tmp_path / "a.parquet", rows, group=10), tmp_path)
    assert not bad and set(found) == {r["id"] for r in rows}
    for row in rows:
        mine = found[row["id"]]
        assert mine["well_formed"] == parse(row["text"]).well_formed
        assert mine["chars"] == len(row["text"])
        share = reasoning_language_share(row["text"], "en")
        if share is not None:
            assert mine["language_share"] == pytest.approx(share, abs=0.02)
        assert (mine["opening"] == "I'm sorry") == ("I'm sorry" in row["text"])
    assert "text" not in mine and "prompt" not in mine


@pytest.mark.parametrize(
    ("language", "thought", "share"),
    [
        ("zh", "我们需要计算这个数的值", 1.0), ("zh", "only English words here", 0.0), ("ja", "これは正しい 計算", 1.0),
        ("th", "สวัสดีครับ", 1.0), ("en", "12 + 3 = 15", None), ("xx", "words of no known language", None),
    ],
)  # fmt: skip
def test_share_of_the_target_language(tmp_path, language, thought, share):
    found, _ = measured(write(tmp_path / "a.parquet", [candidate(1, response(thought), language=language)]), tmp_path)
    assert found[candidate(1)["id"]]["language_share"] == share


def test_openings_of_the_summary_in_any_case(tmp_path):
    texts = {
        "I'M SORRY, no": "I'm sorry", response("a b", "  \n i'm sorry"): "I'm sorry", response("I'm sorry a b"): None,
        response("a", "STRASSE 5"): "Straße", "": None, "</think>": None, "</think>" + " " * 500 + "I'm sorry": None,
    }  # fmt: skip
    rows = [candidate(i, text) for i, text in enumerate(texts)]
    found, _ = measured(write(tmp_path / "a.parquet", rows), tmp_path)
    assert [found[r["id"]]["opening"] for r in rows] == list(texts.values())


def test_nulls_and_invalid_utf8_are_set_aside_with_their_row(tmp_path):
    rows = candidates(30)
    rows[3]["text"] = None
    rows[8]["id"] = None
    table = pa.Table.from_pylist(rows)
    raw = [None if t is None else t.encode() for t in table["text"].to_pylist()]
    raw[20] = b"ab\xff\xfecd"
    arrays = pa.array(raw, pa.binary())
    text = pa.StringArray.from_buffers(len(arrays), *arrays.buffers()[1:], arrays.buffers()[0], arrays.null_count)
    table = table.set_column(table.schema.get_field_index("text"), "text", text)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    found, bad = measured(tmp_path / "a.parquet", tmp_path)
    assert [(b["row"], b["reason"]) for b in bad] == [
        (3, "text is missing or null"), (8, "id is missing or null"), (20, "text is no UTF-8"),
    ]  # fmt: skip
    assert len(found) == 27 and all(b["name"] == "a.parquet" for b in bad)


def test_a_row_of_50_megabytes_and_odd_characters(tmp_path):
    odd = "".join(map(chr, (0, 0x1F600, 0x301, 0x200D, 0xFEFF, 13, 10)))
    rows = [candidate(1, response("word " * 10_500_000)), candidate(2, odd), candidate(3, ""), candidate(4)]
    found, bad = measured(write(tmp_path / "a.parquet", rows), tmp_path)
    assert not bad and found[rows[0]["id"]]["bytes"] > 50_000_000
    assert found[rows[1]["id"]]["chars"] == len(odd) and found[rows[2]["id"]]["tokens"] == 0


def test_twins_in_nfc_and_nfd_differ_in_bytes_and_not_when_normalised(tmp_path):
    rows = [candidate(1, "caf\u00e9 au lait"), candidate(2, "cafe\u0301 au lait")]
    found, _ = measured(write(tmp_path / "a.parquet", rows), tmp_path)
    a, b = (found[r["id"]] for r in rows)
    assert a["exact"] != b["exact"] and a["normal"] == b["normal"]


def test_a_finished_shard_is_not_measured_again_and_another_measure_is(tmp_path):
    [shard], _ = register(
        [checked_source(s, {}) for s in find_sources([write(tmp_path / "a.parquet", candidates(9))])], {}, tmp_path
    )
    path = process_shard(shard, SCAN, tmp_path)
    made = path.stat().st_mtime_ns
    assert process_shard(shard, SCAN, tmp_path) == path and path.stat().st_mtime_ns == made
    assert process_shard(shard, Scan(Spec(shingle=4), SCAN.openings), tmp_path) != path
    assert not list(tmp_path.glob("*.new"))


def test_damage_inside_a_file_names_it_and_the_row(tmp_path):
    path = write(tmp_path / "a.parquet", [candidate(i, prose(i, 2000)) for i in range(40)], group=10)
    [shard], _ = register([checked_source(s, {}) for s in find_sources([path])], {}, tmp_path)
    meta = pq.read_metadata(path).row_group(2).column(3)
    data = bytearray(path.read_bytes())
    data[meta.data_page_offset : meta.data_page_offset + 60] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(CurationError, match=r"a\.parquet: damaged Parquet in row 20 or after"):
        list(batches(shard, None))


def test_texts_of_any_rows_come_back_with_their_rows(tmp_path):
    paths = [write(tmp_path / f"{n}.parquet", [candidate(100 * n + i) for i in range(30)], group=7) for n in range(3)]
    shards, _ = register([checked_source(s, {}) for s in find_sources(paths)], {}, tmp_path, 4000)
    where = [(number, p) for number, shard in enumerate(shards) for p in range(shard.rows)]
    order = np.random.default_rng(0).permutation(len(where))
    texts = Texts(
        shards, np.array([where[i][0] for i in order], np.int32), np.array([where[i][1] for i in order], np.int32), 2
    )
    everything = [candidate(100 * n + i)["text"] for n in range(3) for i in range(30)]
    for rows in (np.arange(90), np.array([5, 17, 88]), np.array([], np.int64)):
        found = {int(r): t for some, array in texts(rows) for r, t in zip(some, array.to_pylist(), strict=True)}
        assert found == {int(r): everything[order[r]] for r in rows}
