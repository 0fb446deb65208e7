"""A revoked source in the real DAG: its rows go, what depends on it is rebuilt and nothing else, and it can come back."""

import json
import shutil
import sys

import pytest

from flows.orchestration.books import books_of
from tasks.provenance.artifacts import read_rows
from tasks.provenance.audit import audit
from tests.faults.all_of_it import all_of_it
from tests.whole_dag.checkout import command

SOURCE = "reasoning-gym-sums"


@pytest.fixture
def checkout(built, tmp_path):
    return shutil.copytree(built[0], tmp_path / "r1flow", symlinks=True)


def r1(folder, *words: str) -> str:
    done = command(folder, sys.executable, "-m", "flows.cli.main", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stale(folder) -> set[str]:
    return set(json.loads(command(folder, sys.executable, "-m", "dvc", "status", "--json").stdout))


def repro(folder, stage: str) -> str:
    """What DVC says when it brings one stage up to date."""
    done = command(folder, sys.executable, "-m", "dvc", "repro", stage)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources(folder) -> set[str]:
    splits = [("01_prompts", "train"), ("01_prompts", "validation"), ("01_final", "final")]
    return {row["source"] for artifact, split in splits for row in read_rows(folder / "data" / artifact, split)}


@all_of_it
def test_what_is_revoked_is_rebuilt_away_and_comes_back_as_it_was(checkout):
    clean, before = stale(checkout), (checkout / "dvc.lock").read_text()
    assert SOURCE in sources(checkout)
    touched = json.loads(r1(checkout, "impact", "--source", SOURCE, "--json"))
    told = json.loads(r1(checkout, "revoke", SOURCE, "--reason", "a test", "--by", "t", "--json"))
    assert told["changed"] == ["data/revoked/prompts.jsonl"] and told["rebuild"] == touched["rebuild"]
    assert not {"base", "judge", "student_base@qwen"} & set(told["rebuild"])
    person = json.loads(r1(checkout, "revoke", "a test", "--reason", "withdrew", "--by", "t", "--json"))
    assert person["tombstones"]["cold_start"]["what"] == "annotator" and person["rebuild"][0] == "cold_start"
    assert not {"prompts", "r1_zero", "preferences"} & set(person["rebuild"]) and "dev1" in person["rebuild"]
    assert stale(checkout) - clean == {"prompts", "cold_start"}, "those that read the tombstones; the rest follows"

    said = repro(checkout, "preferences")
    assert (
        "Running stage 'prompts'" in said and "Running stage 'preferences'" in said and said.count("Running stage") == 2
    )
    assert SOURCE not in sources(checkout) and len(sources(checkout)) > 1
    (decision,) = [d for d in read_rows(checkout / "data/01_prompts", "decisions") if d["rule"] == "revoked"]
    assert decision["evidence"].startswith(f"{SOURCE}: source revoked by t on ") and not decision["keep"]
    found = {f.where for c in audit(books_of(checkout), ["chains", "counts"]) for f in c.violations}
    assert not [w for w in found if w in ("prompts", "preferences") or w.startswith(("data/01_", "data/15_"))], found
    metrics = json.loads((checkout / "metrics/prompts.json").read_text())
    assert metrics["revoked_sources"] == 1 and SOURCE not in metrics["sources"]

    r1(checkout, "revoke", SOURCE, "--undo")
    said = repro(checkout, "preferences")
    assert "Running stage" not in said, "the old artifacts come from the run cache"
    assert SOURCE in sources(checkout) and (checkout / "dvc.lock").read_text() == before
