"""`r1 trace` as people and machines read it: the tree, JSON, Mermaid, and a past commit."""

import json
import subprocess

import pytest

from tasks.provenance.artifacts import read_manifest
from tests.flows.cli.test_impact import project, r1, template  # noqa: F401  (fixtures)


def git(*words: str) -> str:
    who = ("-c", "user.name=Grace", "-c", "user.email=grace@example.org")
    return subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def committed(project):  # noqa: F811
    (project / ".gitignore").write_text("/data/0*/\n/work/\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "built")
    return project


def test_the_tree_shows_what_made_it_and_what_that_was_made_from(committed):
    text = r1("trace", "sft_data/examples.parquet")
    entry = read_manifest(committed / "data/05_sft_data")["files"]["examples.parquet"]
    assert text.startswith("data/05_sft_data  made by sft_data")
    assert f"examples.parquet  sha256 {entry['sha256']}" in text and "3 rows)" in text
    assert f"git      {git('rev-parse', 'HEAD')[:12]}, clean" in text and "by Grace" in text and ": built" in text
    assert "run      not known here" in text and "stale" not in text
    lines = text.split("Made from:\n")[1].splitlines()
    assert lines[0].startswith("├─ candidates: data/03_candidates ") and lines[-3].startswith(
        "└─ verdicts: data/04_verdicts "
    )
    assert lines[-1].endswith("(see above)") and sum("└─ rl:" in line for line in lines) == 1
    said = r1("trace", "data/05_sft_data/nope", ok=False)
    assert "data/05_sft_data holds no `nope`; it holds decisions.parquet, examples.parquet" in said
    assert "Used by" not in text and "Used by:\n└─ student:" in r1("trace", "sft_data", "--down")


def test_edits_are_told_apart_from_what_is_committed(committed):
    (committed / "tasks/verification/maths.py").write_text("X = 2\n")
    text = r1("trace", "data/04_verdicts")
    assert "1 paths differ from it: tasks/verification/maths.py" in text
    assert "stale    tasks/verification has changed" in text and "[stale: tasks/verification has changed]" in text
    assert json.loads(r1("trace", "verdicts", "--json"))["dirty"] == ["tasks/verification/maths.py"]


def test_an_artifact_that_was_changed_here_is_called_so(committed):
    file = committed / "data/05_sft_data/examples.parquet"
    file.write_bytes(file.read_bytes() + b"!")
    found = json.loads(r1("trace", "sft_data", "--json"))["stages"]["sft_data"]
    assert found["changed_since"] == ["data/05_sft_data here is not what dvc.lock has: `dvc checkout data/05_sft_data`"]
    assert found["run"] is None and found["code_version"] is None


def test_json_has_every_stage_in_full(committed):
    found = json.loads(r1("trace", "data/06_student/model.safetensors", "--json"))
    assert (found["artifact"], found["stage"], found["rev"], found["dirty"]) == ("data/06_student", "student", None, [])
    assert found["commit"] == git("rev-parse", "HEAD") and found["recorded_in"]["author"] == "Grace"
    assert list(found["stages"]) == ["prompts", "rl", "candidates", "verdicts", "sft_data", "student"]
    verdicts = found["stages"]["verdicts"]
    assert verdicts["code"]["tasks/verification"]["md5"].endswith(".dir") and verdicts["changed_since"] == []
    assert verdicts["deps"]["data/03_candidates"]["made_by"] == "candidates"
    weights = read_manifest(committed / "data/02_rl")["files"]["model.safetensors"]["sha256"]
    assert found["stages"]["candidates"]["models"] == {"data/02_rl": {"model.safetensors": weights}}
    assert found["stages"]["rl"]["params"] == {"rl": {"sources": ["algebra"]}}
    assert {"from": "sft_data", "to": "student", "path": "data/05_sft_data"} in found["edges"] and len(
        found["edges"]
    ) == 8


def test_mermaid_has_a_box_a_stage_and_an_arrow_an_edge(committed):
    lines = r1("trace", "student", "--down", "--mermaid").splitlines()
    assert lines[0] == "flowchart LR" and lines[1].startswith('  s0["<b>student</b><br/>data/06_student ')
    assert lines[3:] == ["  s0 --> s1", "  s0 stroke-width:3px".replace("s0", "style s0")]
    both = r1("trace", "student", "--up", "--down", "--mermaid")
    assert both.count("-->") == 10 and "evaluate" in both


def test_a_past_commit_and_names_that_are_none(committed):
    (committed / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    git("commit", "-qam", "lost")
    assert "md5      not built" in r1("trace", "sft_data") and "stale    it was never built" in r1("trace", "sft_data")
    then = r1("trace", "sft_data", "--rev", "HEAD~1")
    assert "(HEAD~1)" in then and ".dir" in then and "by Grace" in then and "stale" not in then
    assert "did you mean sft_data" in r1("trace", "sft_dat", ok=False)
    assert "git knows no revision `never`" in r1("trace", "sft_data", "--rev", "never", ok=False)
