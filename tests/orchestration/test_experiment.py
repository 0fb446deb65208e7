"""Experiments: params.yaml as a form, what was filled in as arguments of `dvc exp run`, and their way through DVC."""

import fcntl
import threading
import time

import pytest
import yaml
from pydantic import ValidationError
from ruamel.yaml import YAML

from flows.orchestration import experiment, in_force
from flows.orchestration.params import ParamsError
from tests.toy.project import REPO

CHANGES = experiment.changes_model(REPO)  # the recipe in force


def changed(**sections) -> dict:
    return experiment.overrides(CHANGES.model_validate(sections))


def leaves(values: dict, path: str = "") -> dict:
    found = {}
    for key, value in values.items():
        found |= leaves(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


def fields(model, path: str = "") -> set[str]:
    found = set()
    for field in model.model_fields.values():
        inner = getattr(field.annotation, "model_fields", None)
        found |= fields(field.annotation, f"{path}{field.alias}.") if inner else {f"{path}{field.alias}"}
    return found


def test_the_form_has_every_value_of_the_recipe_but_lists_of_blocks():
    values = leaves(yaml.safe_load((REPO / "params.yaml").read_text()))
    blocks = {k for k, v in values.items() if isinstance(v, list) and isinstance(v[0], dict | list)}
    assert {"prompts.sources", "r1.grpo.max_tokens"} <= blocks
    assert set(values) - blocks - experiment.HOW == fields(CHANGES)
    assert {"distill.students.qwen-control.sft.epochs", "r1.rewards.language", "seed"} < fields(CHANGES)


def test_what_was_filled_in_and_nothing_else_is_changed():
    sections = {"r1": {"rewards": {"language": 0.3}}, "distill": {"students": {"qwen-control": {"data": "teacher"}}}}
    assert changed(**sections) == {"r1.rewards.language": 0.3, "distill.students.qwen-control.data": "teacher"}
    assert changed() == {}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"r1": {"grpo": {"steps": "many"}}}, "valid integer"),
        ({"r1": {"grpo": {"group_size": 1}}}, "greater than or equal to 2"),
        ({"distill": {"students": {"qwen": {"data": "nobody"}}}}, "'teacher' or 'generator'"),
        ({"r1": {"grpo": {"stepz": 1}}}, "Extra inputs are not permitted"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_a_value_is_refused_as_its_stage_refuses_it(section, words):
    with pytest.raises(ValidationError, match=words):
        CHANGES.model_validate(section)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"r1.grpo.kl_betta": 0.1}, "did you mean `kl_beta`"),
        ({"r1.grpo.steps": 2}, "general_last_steps is more than steps"),  # what only the whole section can know
        ({"nobody.x": 1}, "no flows/nobody.py"),
        ({"seed.x": 1}, "`seed` is no section"),
        ({"evaluate.models": {"r1": "data/17_r1"}}, None),
    ],
)
def test_overrides_are_checked_against_the_whole_section(override, words):
    if words is None:
        assert experiment.checked(REPO, override)
        return
    with pytest.raises(ParamsError, match=words):
        experiment.checked(REPO, override)


def test_lines_are_read_as_yaml_and_a_line_that_is_none_is_named():
    lines = ["r1.grpo.kl_beta=0.001", "candidates.sources=[a, b]", "base.model.path= models/x"]
    assert experiment.further(lines) == {
        "r1.grpo.kl_beta": 0.001, "candidates.sources": ["a", "b"], "base.model.path": "models/x",
    }  # fmt: skip
    with pytest.raises(ParamsError, match="`r1.grpo.kl_beta` is no override"):
        experiment.further(["r1.grpo.kl_beta"])


AWKWARD = {
    "r1.rewards.language": 0.3,
    "r1.grpo.kl_beta": 1e-05,  # not in the recipe
    "r1.grpo.gradient_checkpointing": True,
    "distill.students.qwen-control.data": "teacher",
    "candidates.sources": ["a b", "it's", 'say "no"', "{x: [1]}", "back\\slash", "quoted\\'", "end\\", "null", "1"],
    "evaluate.models.mine": "models/ä, b=c",
}


def test_dvc_writes_exactly_what_was_asked(tmp_path, monkeypatch):
    from dvc.utils.hydra import apply_overrides

    monkeypatch.setattr(experiment, "params_model", lambda _: _Anything)  # only the texts are looked at here
    arguments = experiment.checked(REPO, AWKWARD)
    path = tmp_path / "params.yaml"
    path.write_text((REPO / "params.yaml").read_text())
    apply_overrides(path, arguments)
    as_dvc_reads = YAML(typ="safe", pure=True)
    expected = as_dvc_reads.load(REPO / "params.yaml")
    for key, value in AWKWARD.items():
        experiment._put(expected, key.split("."), value, key)
    assert as_dvc_reads.load(path) == expected


class _Anything:
    @staticmethod
    def model_validate(value):
        return value


def lock_of(toy, name: str) -> dict:
    """The stages of an experiment's dvc.lock."""
    refs = toy.git("for-each-ref", "--format=%(refname)", "refs/exps").split()
    mine = next(ref for ref in refs if ref.endswith(f"/{name}"))
    return yaml.safe_load(toy.git("show", f"{mine}:dvc.lock"))["stages"]


def test_an_experiment_in_a_copy_leaves_the_checkout_alone(toy):
    """Its outputs too: DVC tells a stage of a copy the root of the checkout that asked."""
    arguments = ["grow.plants.oak.steps=4", "+numbers.largest=50"]
    said = toy.dvc(*experiment.command("tall", arguments, ["grow@oak"]))
    assert "Ran experiment(s): tall" in said and any(map(experiment.branched_off, said.splitlines()))
    assert not any(toy.has(name) for name in ("data", "metrics", "dvc.lock"))
    assert toy.git("status", "--short").split() == []
    lock = lock_of(toy, "tall")
    assert set(lock) == {"numbers", "grow@oak"}
    assert lock["grow@oak"]["params"]["params.yaml"]["grow.plants.oak"]["steps"] == 4


def test_who_changes_what_is_in_force_waits_for_who_builds(tmp_path):
    said, order = [], []

    def change() -> None:
        with in_force.changing(tmp_path, said.append):
            order.append("changed")

    stage_lock = tmp_path / "work/locks/dev1.lock"
    with in_force.building(tmp_path), in_force.building(tmp_path):  # two runs at once are fine
        stage_lock.write_text("")
        with open(stage_lock, "a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            waiting = threading.Thread(target=change, daemon=True)
            waiting.start()
            time.sleep(0.3)
            order.append("built")
    waiting.join(10)
    assert order == ["built", "changed"]
    assert said == ["waiting for dev1 in this checkout: params.yaml is in use until then"]
    with open(stage_lock, "a") as held:  # a stage that a bare `dvc repro` started
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(target=change, daemon=True)
        waiting.start()
        time.sleep(0.3)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive() and len(order) == 3
