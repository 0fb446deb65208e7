"""The human route, there and back: rows out to a sheet, verdicts and edits in, every fault named."""

import csv
import io
import json

import pytest

from tasks.curation.annotation import Annotation, AnnotationError, merge, read_annotations, write_annotations
from tasks.curation.sheet import COLUMNS, ReviewRow, read_sheet, write_sheet

ROWS = {
    r.id: r
    for r in (
        ReviewRow("c1", "p1", "Compute 1/2+3", "7/2", "<think> a, b;\n\"c\" </think> <answer>7/2</answer>", "few_shot", None),
        ReviewRow("c2", "p2", "=1+1", "-5", "=cmd|' /C calc'!A0", "r1_zero", "no_summary"),
        ReviewRow("c3", "p3", "数 + 数", None, "'quoted\r\nlines", "direct", "mixed_language"),
    )
}


def sheet(path, verdicts):
    """Fill in an exported CSV as a person would: {id: {column: value}}."""
    write_sheet(path, ROWS.values())
    table = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    for row in table:
        row.update(verdicts.get(row["id"], {}))
    return table


def save(path, table, delimiter=",", encoding="utf-8-sig", end="\r\n"):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(table)
    path.write_bytes(out.getvalue().encode(encoding))


FILLED = {
    "c1": {"verdict": "accept", "note": "fine"},
    "c2": {"verdict": " Edit ", "edited": "<think> two\nlines </think> <answer>-5</answer>"},
    "c3": {"verdict": "reject"},
}


@pytest.mark.parametrize(
    "mangle",
    [
        {},
        {"delimiter": ";"},
        {"delimiter": "\t", "encoding": "utf-16"},
        {"encoding": "utf-8", "end": "\n"},
    ],
    ids=["as written", "semicolons", "excel unicode text", "no bom, unix"],
)
def test_a_filled_sheet_comes_back(tmp_path, mangle):
    path = tmp_path / "sheet.csv"
    save(path, sheet(path, FILLED), **mangle)
    c1, c2, c3 = read_sheet(path, ROWS, "ada")
    assert (c1.verdict, c1.response, c1.note, c1.annotator) == ("accept", ROWS["c1"].text, "fine", "ada")
    assert (c2.verdict, c2.response) == ("edit", "<think> two\nlines </think> <answer>-5</answer>")
    assert (c2.prompt, c2.gold, c2.text) == ("=1+1", "-5", ROWS["c2"].text)
    assert (c3.verdict, c3.response, c3.gold) == ("reject", None, None)


def test_jsonl_comes_back(tmp_path):
    path = tmp_path / "sheet.jsonl"
    assert write_sheet(path, ROWS.values()) == 3
    table = [json.loads(line) | FILLED[json.loads(line)["id"]] for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(row) for row in table))
    assert [a.verdict for a in read_sheet(path, ROWS, "ada")] == ["accept", "edit", "reject"]


def test_no_cell_of_a_csv_is_a_formula(tmp_path):
    path = tmp_path / "sheet.csv"
    write_sheet(path, ROWS.values())
    content = path.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    cells = [cell for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) for cell in row]
    assert "'=1+1" in cells and not [c for c in cells if c.startswith(("=", "+", "-", "@"))]


def test_a_spreadsheet_that_eats_the_quote_changes_nothing(tmp_path):
    path = tmp_path / "sheet.csv"
    table = sheet(path, FILLED)
    save(path, [{c: v.removeprefix("'") for c, v in row.items()} for row in table])
    assert read_sheet(path, ROWS, "ada")[1].prompt == "=1+1"


@pytest.mark.parametrize(
    "cells, column, says",
    [
        ({"verdict": ""}, "verdict", "is empty"),
        ({"verdict": "yes"}, "verdict", "none of accept, edit, reject"),
        ({"verdict": "edit", "edited": " "}, "edited", "write the new response"),
        ({"verdict": "accept", "edited": "x"}, "edited", "say edit"),
        ({"verdict": "edit", "edited": "#NAME?"}, "edited", "spreadsheet's error"),
        ({"verdict": "edit", "edited": "caf\ufffd"}, "edited", "encoding is broken"),
        ({"id": "c9"}, "id", "was not given out"),
        ({"id": "c3"}, "id", "already in row"),
        ({"gold": "1-Feb"}, "gold", "turns 1/2 into a date"),
        ({"prompt": "Compute 2"}, "prompt", "was changed"),
        ({"text": "better"}, "text", "into `edited`"),
    ],
)
def test_each_fault_is_named_with_row_and_column(tmp_path, cells, column, says):
    path = tmp_path / "sheet.csv"
    table = sheet(path, FILLED)
    table[1 if cells.get("id") != "c3" else 0].update(cells)
    save(path, table)
    with pytest.raises(AnnotationError) as e:
        read_sheet(path, ROWS, "ada")
    row = 4 if cells.get("id") == "c3" else 3
    assert [f for f in e.value.faults if f.startswith(f"{path}:{row}:{column}: ") and says in f], e.value.faults


def test_all_faults_at_once(tmp_path):
    path = tmp_path / "sheet.csv"
    save(path, sheet(path, {"c1": {"verdict": "yes"}, "c2": {"verdict": "edit"}}))
    with pytest.raises(AnnotationError) as e:
        read_sheet(path, ROWS, "ada")
    assert len(e.value.faults) == 3


def test_partial_skips_only_untouched_rows(tmp_path):
    path = tmp_path / "sheet.csv"
    save(path, sheet(path, {"c1": {"verdict": "accept"}}))
    assert [a.id for a in read_sheet(path, ROWS, "ada", partial=True)] == ["c1"]
    save(path, sheet(path, {"c1": {"note": "hm"}}))
    with pytest.raises(AnnotationError, match=":2:verdict: is empty"):
        read_sheet(path, ROWS, "ada", partial=True)


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "columns id,"),
        (b"id,text\nc1,x\n", "prompt_id, prompt, gold, verdict, edited are missing"),
        ("id,größe".encode("latin-1"), "is not UTF-8"),
        (",".join(COLUMNS).encode() + b"\n", "holds no row with a verdict"),
        (",".join(COLUMNS).encode() + b"\nc1,p1\n", ":2: has 2 cells, the header 10"),
        (",".join((*COLUMNS, "note")).encode() + b"\n", "note stand there twice"),
        (",".join(COLUMNS).encode() + b'\n"c1', "is no CSV"),
    ],
)
def test_a_broken_sheet_is_refused(tmp_path, content, says):
    path = tmp_path / "sheet.csv"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=says):
        read_sheet(path, ROWS, "ada")


def annotation(**changes) -> Annotation:
    base = dict(id="c1", prompt_id="p1", prompt="q", gold="1", text="t", edited=None, verdict="accept", annotator="ada")
    return Annotation(**base | changes)


def test_merge_replaces_the_same_annotator_and_keeps_others():
    old = [annotation(), annotation(annotator="bob")]
    rows = merge(old, [annotation(verdict="reject"), annotation(id="c0")])
    assert [(r.id, r.annotator, r.verdict) for r in rows] == [
        ("c0", "ada", "accept"),
        ("c1", "ada", "reject"),
        ("c1", "bob", "accept"),
    ]


def test_the_store_round_trips_and_is_stable(tmp_path):
    path = tmp_path / "store.jsonl"
    rows = [annotation(text="数\n\u2028x", note="n"), annotation(annotator="bob")]
    write_annotations(path, rows)
    first = path.read_bytes()
    assert read_annotations(path) == rows
    write_annotations(path, merge(read_annotations(path), rows))
    assert path.read_bytes() == first and [p.name for p in tmp_path.iterdir()] == ["store.jsonl"]


@pytest.mark.parametrize(
    "line, says",
    [
        ("{", ":1: is no JSON"),
        ('{"id": "x"}', ":1: has the keys"),
        ("[1]", ":1: has the keys|:1: is no JSON"),
        (json.dumps(annotation(verdict="maybe").__dict__), ":1:verdict"),
        ("\n".join([json.dumps(annotation().__dict__)] * 2), ":2:id: .* already in line 1"),
    ],
)
def test_a_damaged_store_is_refused(tmp_path, line, says):
    path = tmp_path / "store.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(AnnotationError, match=says):
        read_annotations(path)
    with pytest.raises(AnnotationError, match="is missing"):
        read_annotations(tmp_path / "none.jsonl")
