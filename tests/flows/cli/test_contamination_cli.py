"""`r1 contamination A B`: table, examples, JSON and the report."""

import html
import json
import re

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks.provenance.artifacts import write_manifest, write_rows

EVIL = "<script>alert('x')</script> & \"quotes\" \x1b[31m red {{ 7 * 7 }} {% raw %}"


@pytest.fixture()
def sets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared = "a farmer has twelve hens and each of them lays two eggs every single day"
    train = [
        {"prompt": "What is 3+4?"},
        {"prompt": f"Once upon a time {shared}, so how many boxes of six are there? {EVIL}"},
        {"prompt": "nothing in common"},
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in train))
    (tmp_path / "test.csv").write_text(
        f'question,answer\n"what is 3+4 ?",7\n"Say {shared}; how many eggs in a week?",168\nWhat is 3-4?,-1\n'
    )
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["contamination", *map(str, arguments)])


def test_table_and_examples(sets):
    done = run("train.jsonl", "test.csv")
    assert done.exit_code == 0, done.output
    assert (
        "A  train.jsonl, column prompt: 3 rows" in done.output and "B  test.csv, column question: 3 rows" in done.output
    )
    lines = {line.split("  ")[0].strip(): line.split()[-4:] for line in done.output.splitlines() if "%" in line}
    assert lines["exact"] == ["1", "33.3%", "1", "33.33%"]
    assert lines["8-gram"] == ["1", "33.3%", "1", "33.33%"]
    assert lines["exact or n-gram"] == ["2", "66.7%", "2", "66.67%"]
    assert "«a farmer has twelve hens and each of them lays two eggs every single day»" in done.output
    assert "B test.csv:3" in done.output and "\x1b" not in done.output  # a text cannot steer the terminal


def test_json(sets):
    found = json.loads(run("train.jsonl", "test.csv", "--json", "--ngram", 5).stdout)
    assert [(o["a"], o["b"], o["exact"]) for o in found["overlaps"]] == [
        ("train.jsonl:1", "test.csv:2", True),
        ("train.jsonl:2", "test.csv:3", False),
    ]
    assert found["overlaps"][1]["shared"] == 11 and found["ngram"] == 5
    nothing = json.loads(
        run("train.jsonl", "test.csv", "--json", "--column-a", "prompt", "--column-b", "answer").stdout
    )
    assert nothing["overlaps"] == [] and nothing["table"][-1]["items"] == 0


def test_report_is_one_file_and_texts_are_data(sets):
    done = run("train.jsonl", "test.csv", "--html", "deep/report.html", "--examples", 0)
    assert done.exit_code == 0 and "report: deep/report.html" in done.output
    page = (sets / "deep" / "report.html").read_text()
    assert not re.search(r"(src|href)=|https?://|url\(|@import", page)  # nothing is fetched
    assert page.count("<script>") == 1 and "alert('x')" not in page and "{{ 7 * 7 }} {% raw %}" in page
    assert page.count('<article class="pair"') == 2
    texts = re.findall(r'<div class="text">(.*?)</div>', page, re.DOTALL)
    plain = [html.unescape(re.sub(r"</?mark[^>]*>", "", text)) for text in texts]
    assert plain[2].endswith(EVIL) and plain[3].startswith("Say a farmer")
    marks = re.findall(r'<mark data-run="(\d+)">(.*?)</mark>', texts[2])
    assert marks == [("0", "a farmer has twelve hens and each of them lays two eggs every single day")]
    assert not list((sets / "deep").glob("*.part"))


def test_csv_without_header_and_limits(sets):
    (sets / "bare.csv").write_text("What is 3+4?,7\n")
    done = run("train.jsonl", "bare.csv", "--header-b", "problem,answer", "--json")
    assert json.loads(done.stdout)["table"][0]["items"] == 1
    run("train.jsonl", "test.csv", "--html", "r.html", "--html-limit", 1)
    assert "The 1 strongest of 2 overlaps" in (sets / "r.html").read_text().replace("\n", " ")


def test_a_report_that_cannot_be_written_is_named(sets):
    done = run("train.jsonl", "test.csv", "--html", "test.csv/report.html")
    assert done.exit_code == 1 and "test.csv: the report cannot be written" in done.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("absent.jsonl", "test.csv"), "absent.jsonl: no such file"),
        (
            ("train.jsonl", "test.csv", "--column-b", "problem"),
            "test.csv:2: neither this row nor any other has the column 'problem'",
        ),
    ],
)
def test_what_cannot_be_read_ends_with_a_message(sets, arguments, says):
    done = run(*arguments)
    assert done.exit_code == 1 and says in done.output and "Traceback" not in done.output


def test_of_what_a_stage_made_its_table_of_texts_is_compared(sets):
    folder = sets / "data/13_sft_data"
    write_rows(
        folder,
        "decisions",
        [{"row_id": "a", "stage": "s"}],
        pa.schema([("row_id", pa.string()), ("stage", pa.string())]),
    )
    texts = pa.schema([("prompt", pa.string()), ("response", pa.string())])
    write_rows(folder, "examples", [{"prompt": "What is 3+4?", "response": "7"}], texts)
    write_manifest(folder, stage="test")
    done = run("data/13_sft_data", "test.csv")
    assert done.exit_code == 0 and "A  data/13_sft_data/examples.parquet, column prompt: 1 rows" in done.output, (
        done.output
    )
    assert "column response: 1 rows" in run("data/13_sft_data", "test.csv", "--column-a", "response").output
    none = run("data/13_sft_data", "test.csv", "--column-a", "solution")
    assert none.exit_code == 1 and "a column of solution is compared, and it has none" in none.output
    before = (folder / "examples.parquet").read_bytes()
    (folder / "examples.parquet").write_bytes(b"PAR1")
    damaged = run("data/13_sft_data", "test.csv")
    assert damaged.exit_code == 1 and "data/13_sft_data/examples.parquet" in damaged.output
    (folder / "examples.parquet").write_bytes(before)
    write_rows(folder, "more", [{"prompt": "What?", "response": "7"}], texts)
    write_manifest(folder, stage="test")
    several = run("data/13_sft_data", "test.csv")
    assert several.exit_code == 1 and "has several (examples.parquet, more.parquet): name one" in several.output


def test_a_folder_with_a_manifest_of_somebody_elses_is_read_as_any_other(sets):
    (sets / "theirs").mkdir()
    (sets / "train.jsonl").rename(sets / "theirs/a.jsonl")
    (sets / "theirs/manifest.json").write_text('{"prompt": "of theirs"}')
    done = run("theirs", "test.csv")
    assert done.exit_code == 0 and "A  theirs, column prompt: 4 rows" in done.output, done.output
