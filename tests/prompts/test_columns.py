"""Prompts of every verified domain out of the columns of one's own file, and files inside archives."""

import io
import json
import shutil
import tarfile
import zipfile

import pytest

from tasks.prompts.bank import build
from tasks.prompts.readers import SourceError, find_files, read
from tasks.prompts.sources import Source, read_source
from tasks.verification.code.jail import INSTALL
from tasks.verification.verify import gold_problems, verify_all

STDIO = {"kind": "stdio", "cases": [{"input": "4\n", "output": "8\n"}]}


def bank(tmp_path, rows, **given):
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Source(**({"name": "s", "path": "x.jsonl", "licence": "MIT", "split": "train"} | given))
    return build([read_source(source, tmp_path, 0)], gold_problems, 0.0, 0.0, 4000, 1.0)


def statuses(out, *responses):
    return [v.status for v in verify_all(out.rows[:1] * len(responses), list(responses))]


@pytest.mark.parametrize(
    "row, columns",
    [
        ({"o": ["3", "4", "5"], "a": 1}, "o"),
        ({"o": '{"A": "3", "B": "4"}', "a": "B"}, "o"),
        ({"p": "3", "q": "4", "r": None, "a": "4"}, ["p", "q", "r"]),
    ],
)
def test_a_choice_from_a_list_a_mapping_or_a_column_for_each_option(tmp_path, row, columns):
    row = {"text": "2 + 2?"} | row
    bad = row | {"a": "Z"}
    out = bank(tmp_path, [row, bad], domain="choice", columns={"text": "text", "gold": "a", "options": columns})
    assert out.rows[0]["text"].startswith("2 + 2?\n\nA. 3\nB. 4") and out.rows[0]["gold"] == "B"
    assert statuses(out, "<answer>B</answer>", "<answer>A</answer>") == ["ok", "wrong"]
    assert [d["rule"] for d in out.decisions] == ["options"] and "'Z'" in out.decisions[0]["evidence"]


def test_a_quantity_takes_unit_and_tolerance_from_columns_or_constants(tmp_path):
    rows = [{"q": "How fast?", "a": "10", "u": "m/s"}, {"q": "How far?", "a": "ten", "u": "m"}, {"q": "And?", "a": "1"}]
    meta = {"unit": {"column": "u"}, "tolerance": {"value": 0.01}}
    out = bank(tmp_path, rows, domain="quantity", columns={"text": "q", "gold": "a"}, meta=meta)
    assert json.loads(out.rows[0]["meta"]) == {"unit": "m/s", "tolerance": 0.01}
    assert statuses(out, "<answer>36 km/h</answer>", "<answer>36 m/s</answer>") == ["ok", "wrong"]
    assert [d["rule"] for d in out.decisions] == ["gold", "meta"] and "meta.unit" in out.decisions[1]["evidence"]


def test_logic_and_instructions_take_what_their_verifier_wants(tmp_path):
    meta = {"puzzle": {"value": "knights-and-knaves"}, "people": {"json_column": "who"}}
    rows = [{"q": "Who?", "a": "Ann is a knight", "who": '["Ann"]'}, {"q": "Who else?", "a": "x", "who": "Ann"}]
    out = bank(tmp_path, rows, domain="logic", columns={"text": "q", "gold": "a"}, meta=meta)
    assert statuses(out, "<answer>Ann: knight</answer>", "<answer>Ann: knave</answer>") == ["ok", "wrong"]
    assert "holds no JSON text" in out.decisions[0]["evidence"]
    meta = {"instruction_ids": {"column": "ids"}, "kwargs": {"column": "kwargs"}, "strict": {"value": False}}
    rows = [
        {"q": "No commas.", "ids": ["punctuation:no_comma"], "kwargs": [{}]},
        {"q": "?", "ids": ["no:such"], "kwargs": [{}]},
    ]
    out = bank(tmp_path, rows, domain="instructions", columns={"text": "q"}, meta=meta)
    assert out.rows[0]["gold"] is None and statuses(out, "Fine.", "Not, fine.") == ["ok", "wrong"]
    assert [d["rule"] for d in out.decisions] == ["gold"] and "no:such" in out.decisions[0]["evidence"]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason=f"bubblewrap is not installed: {INSTALL}")
def test_code_from_columns(tmp_path):
    rows = [{"q": "Double it.", "t": json.dumps(STDIO)}, {"q": "No tests.", "t": json.dumps(STDIO | {"cases": []})}]
    meta = {"tests": {"json_column": "t"}, "time_s": {"value": 2.0}}
    out = bank(tmp_path, rows, domain="code", columns={"text": "q"}, meta=meta)
    good, bad = "```python\nprint(2 * int(input()))\n```", "```python\nprint(0)\n```"
    assert statuses(out, good, bad) == ["ok", "wrong"]
    assert [d["rule"] for d in out.decisions] == ["gold"] and "zero tests" in out.decisions[0]["evidence"]


def test_a_missing_column_is_named_with_its_key(tmp_path):
    with pytest.raises(SourceError, match=r"x.jsonl:1 has no column 'u' \(meta.unit in params.yaml\)"):
        bank(
            tmp_path,
            [{"q": "?", "a": "1"}],
            domain="quantity",
            columns={"text": "q", "gold": "a"},
            meta={"unit": {"column": "u"}},
        )


def test_a_pattern_is_taken_out_of_the_text(tmp_path):
    given = {"domain": "maths", "columns": {"text": "q", "gold": "a"}, "drop_pattern": r"\s*Answer in a box\.$"}
    assert bank(tmp_path, [{"q": "1+1? Answer in a box.", "a": "2"}], **given).rows[0]["text"] == "1+1?"


def archive(path, files):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as out:
            for name, text in files.items():
                out.writestr(name, text)
    else:
        with tarfile.open(path, "w:gz") as out:
            for name, text in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                out.addfile(info, io.BytesIO(text.encode()))


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_an_archive_is_a_folder(tmp_path, name):
    line = '{"q": "1+1?", "a": "2"}\n'
    archive(
        tmp_path / name,
        {"data/b.jsonl": line, "data/a.csv": "q,a\n2+2?,4\n", "data/x.txt": "", "__MACOSX/a.jsonl": line},
    )
    for pattern, wanted in ((name, ["a.csv:2", "b.jsonl:1"]), (f"{name}/data", ["a.csv:2", "b.jsonl:1"]),
                            (f"{name}/*/b.jsonl", ["b.jsonl:1"]), (f"{name}/data/a.csv", ["a.csv:2"])):  # fmt: skip
        source = Source(name="s", path=pattern, licence="MIT", domain="maths", columns={"text": "q", "gold": "a"})
        reading = read_source(source, tmp_path, 0)
        assert [row.origin for row in reading.rows] == [f"{name}/data/{w}" for w in wanted]
        assert list(reading.files) == [name]
    with pytest.raises(SourceError, match="no such file of a known format in set"):
        find_files(tmp_path, f"{name}/other/*.csv")


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"PK not a zip")
    with pytest.raises(SourceError, match="set.zip: .*is the download complete"):
        find_files(tmp_path, "set.zip")


def test_csv_files_without_a_header_line(tmp_path):
    (tmp_path / "x.csv").write_text("1+1?,2\n")
    assert list(read(tmp_path / "x.csv", "x.csv", ("q", "a"))) == [("x.csv:1", {"q": "1+1?", "a": "2"})]
