"""`r1 annotate` in a checkout: export, fill in, import, and export again."""

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks.curation.annotation import read_annotations
from tasks.provenance.artifacts import write_manifest, write_rows
from tasks.rows import COMPLETION, DECISION, PROMPT

ROOT = Path(__file__).resolve().parents[3]
STORE = "data/annotations/cold_start.jsonl"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with the artifacts of `prompts` and `cold_start`: three candidates, one of them kept."""
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    prompts = [{"id": f"p{i}", "text": f"Compute {i} A+1", "gold": str(i + 1)} for i in range(3)]
    candidates = [
        {"id": f"c{i}", "prompt_id": f"p{i}", "settings": json.dumps({"route": "r1_zero"}), "text": f"=step {i}"} for i in range(3)
    ]
    decisions = [
        {"row_id": "c0", "rule": "correct", "keep": False},
        {"row_id": "c0", "rule": "language", "keep": False},
        {"row_id": "c1", "rule": "language", "keep": False},
        {"row_id": "c2", "rule": "language", "keep": True},
    ]
    write_rows(tmp_path / "data/01_prompts", "train", prompts, PROMPT)
    write_rows(tmp_path / "data/06_cold_start", "candidates", candidates, COMPLETION)
    write_rows(tmp_path / "data/06_cold_start", "decisions", decisions, DECISION)
    for folder in ("01_prompts", "06_cold_start"):
        write_manifest(tmp_path / "data" / folder)
    (tmp_path / STORE).parent.mkdir(parents=True)
    (tmp_path / STORE).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def r1(*args):
    return CliRunner().invoke(app, ["annotate", *args])


def table(path: Path, **changes) -> list[dict]:
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    return [row | changes.get(row["id"], {}) for row in rows]


def save(path: Path, rows: list[dict]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as f:
        writer = csv.DictWriter(f, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def test_round_trip(checkout):
    assert r1("export", "--out", "s.csv").exit_code == 0
    rows = table(
        checkout / "s.csv", c0={"verdict": "reject"}, c1={"verdict": "edit", "edited": "better"}, c2={"verdict": "accept"}
    )
    assert [(row["id"], row["reason"]) for row in rows] == [("c1", "language"), ("c0", "correct, language"), ("c2", "")]
    save(checkout / "s.csv", rows)
    result = r1("import", "s.csv", "--annotator", "ada")
    assert result.exit_code == 0 and "1 accept, 1 edit, 1 reject" in result.output
    stored = read_annotations(checkout / STORE)
    assert [(a.id, a.response, a.annotator) for a in stored] == [
        ("c0", None, "ada"),
        ("c1", "better", "ada"),
        ("c2", "=step 2", "ada"),
    ]
    assert "all are reviewed" in r1("export", "--out", "again.csv").output


def test_a_fault_writes_nothing(checkout):
    r1("export", "--out", "s.csv", "--limit", "2")
    save(checkout / "s.csv", table(checkout / "s.csv", c1={"verdict": "accept"}, c0={"verdict": "perhaps"}))
    result = r1("import", "s.csv", "--annotator", "ada")
    assert result.exit_code == 1 and "s.csv:3:verdict: 'perhaps' is none of" in result.output
    assert (checkout / STORE).read_bytes() == b""


def test_a_missing_artifact_says_what_to_run(checkout):
    (checkout / "data/06_cold_start/manifest.json").unlink()
    result = r1("export")
    assert result.exit_code == 1 and "rebuild it with `r1 run`" in result.output
    assert not (checkout / "review.csv").exists()


def test_a_stage_without_a_human_route(checkout):
    with pytest.raises(Exception, match="only a stage with that key has a human route"):
        CliRunner().invoke(app, ["annotate", "export", "--stage", "dev1"], catch_exceptions=False)
