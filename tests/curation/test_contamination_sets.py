"""Sets to compare: columns, templates, and what cannot be read."""

import gzip
import json

import pytest

from tasks.curation.contamination_sets import common_template, read_set, without_template
from tasks.prompts.readers import SourceError


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


def test_columns_reach_into_nested_values_and_join(tmp_path):
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "how many?"}]
    name = write(tmp_path / "a.jsonl", [{"prompt": chat, "extra": {"topic": "sums"}, "x,y": "both"}, {"prompt": None}])
    assert read_set(tmp_path, name, "prompt").texts.to_pylist() == ["how many?", ""]
    assert read_set(tmp_path, name, "prompt.0.content").texts.to_pylist() == ["be brief", ""]
    assert read_set(tmp_path, name, "extra.topic,prompt").texts[0].as_py() == "sums\nhow many?"
    assert read_set(tmp_path, name, "x,y").texts[0].as_py() == "both"
    read = read_set(tmp_path, name)
    assert (read.column, read.empty, read.origins) == ("prompt", 1, ["a.jsonl:1", "a.jsonl:2"])


def test_directories_globs_and_gzip(tmp_path):
    (tmp_path / "d").mkdir()
    write(tmp_path / "d" / "b.jsonl", [{"text": "two"}])
    with gzip.open(tmp_path / "d" / "a.csv.gz", "wt") as file:
        file.write("text\none\n")
    for pattern in ("d", "d/*"):
        assert read_set(tmp_path, pattern).texts.to_pylist() == ["one", "two"]
    assert read_set(tmp_path, "d", limit=1).origins == ["d/a.csv.gz:2"]


@pytest.mark.parametrize(
    ("rows", "column", "says"),
    [
        (
            [{"question": "why"}],
            "text",
            "a.jsonl:1: neither this row nor any other has the column 'text'; it has question",
        ),
        ([{"id": 1, "name": 2}], None, "a.jsonl:1: none of the usual columns"),
        ([{"text": "x"}, {"text": {"a": 1}}], "text", "a.jsonl:2: column 'text' is a dict, no text; reach into it"),
        ([{"text": "\ud800"}], "text", "a.jsonl:1: half of a surrogate pair"),
        ([], "text", "no rows"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, rows, column, says):
    with pytest.raises(SourceError, match=says):
        read_set(tmp_path, write(tmp_path / "a.jsonl", rows), column)


def test_a_template_is_what_nearly_all_distinct_texts_share():
    opening, ending = "Solve this problem carefully.\n", " Put the answer in a box at the end."
    texts = [f"{opening}What is {i} plus {i + 1}?{ending}" for i in range(40)] + ["unlike the others", ""]
    assert common_template(texts) == (opening + "What is ", ending)
    assert without_template(texts[3], opening, ending) == "What is 3 plus 4?"
    assert without_template("unlike the others", opening, ending) == "unlike the others"
    # ... not one text repeated, nor a common word, nor what a handful share
    assert common_template(["one and the same long text, again and again"] * 100) == ("", "")
    assert common_template([f"What is {i}?" for i in range(100)]) == ("", "")
    assert common_template(texts[:10]) == ("", "")


def test_the_template_is_reported_and_can_stay(tmp_path):
    rows = [{"text": f"number {i} is here, please think step by step and answer"} for i in range(30)]
    name = write(tmp_path / "a.jsonl", rows)
    read = read_set(tmp_path, name)
    assert read.ending == " is here, please think step by step and answer"
    assert read.texts[7].as_py() == "number 7"
    assert read_set(tmp_path, name, template=False).texts[7].as_py() == rows[7]["text"]
