"""`r1 canary`: the table of a recipe, exit status 1 where a canary sings, no trained model needed."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.main import app
from tasks.rewards import canary_prompts

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture()
def project(tmp_path, monkeypatch):
    """A checkout without artifacts; prompts that need a sandbox are the business of tests/verification/code."""
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(canary_prompts, "PROMPTS", [r for r in canary_prompts.PROMPTS if r["domain"] != "code"])
    return tmp_path


def set_rewards(project, stage, rewards):
    values = yaml.safe_load((project / "params.yaml").read_text())
    values[stage]["rewards"] = rewards
    (project / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def run(*arguments):
    return CliRunner().invoke(app, ["canary", *arguments])


def test_the_recipe_in_force_is_silent(project):
    done = run()
    assert done.exit_code == 0, done.output
    for stage in ("r1_zero", "dev2", "r1", "student_rl"):
        assert f"{stage}: 1 accuracy + 0.1 format" in done.output
    assert "SINGS" not in done.output and "1 preference (not asked)" in done.output
    for domain in ("maths", "choice", "quantity", "logic", "instructions"):
        assert domain in done.output


def test_a_reward_that_can_be_cheated_ends_in_status_1(project):
    set_rewards(project, "dev2", {"format": 1.0})
    done = run("dev2")
    assert done.exit_code == 1
    assert "SINGS" in done.output and "copied-prompt-tagged: in sum 1, full marks are 1" in done.output
    assert run("r1_zero").exit_code == 0


def test_a_stage_without_rewards_names_those_that_have(project):
    done = run("dev1")
    assert done.exit_code == 2 and "r1_zero, dev2, r1, student_rl" in " ".join(done.output.split())


def test_a_misspelt_reward_is_named_with_the_nearest(project):
    set_rewards(project, "dev2", {"acuracy": 1.0})
    done = run("dev2")
    assert done.exit_code != 0
    assert "dev2.rewards.acuracy: unknown key; did you mean `accuracy`?" in str(done.exception)
