"""The recipes: each loads, validates and can be planned; the same keys at four scales; paper.yaml cites its values."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from flows.orchestration.dag import stage_names
from flows.orchestration.params import ParamsError, read_yaml
from flows.orchestration.recipe import validate

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ("cpu", "gpu", "node", "paper")
NAMED = {"sources", "students", "models", "rewards", "model", "config", "engine"}  # their keys are names, or one of several kinds
SOURCE = re.compile(r"#.*\b(P \d|[NSY]\b|ours\b|not released)")


def recipe(name: str) -> Path:
    return ROOT / "recipes" / f"{name}.yaml"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_validates(name):
    assert set(validate(ROOT, recipe(name), unpublished=name == "paper")) == set(stage_names(ROOT))
    assert read_yaml(recipe(name))["recipe"] == name


def test_no_other_recipe_is_shipped_unchecked():
    assert {p.stem for p in (ROOT / "recipes").glob("*.yaml")} == set(RECIPES)


def test_the_papers_nulls_stop_a_run_by_name():
    with pytest.raises(ParamsError, match=r"paper.yaml: r1_zero.grpo.clip_epsilon: is null, .*give a value"):
        validate(ROOT, recipe("paper"))


def keys(tree, at="") -> set[str]:
    """Dotted keys, down to where names or a choice of kinds begin."""
    found = set()
    for key, value in tree.items():
        found.add(f"{at}{key}")
        if isinstance(value, dict) and key not in NAMED:
            found |= keys(value, f"{at}{key}.")
    return found


def test_the_same_keys_at_every_scale():
    gpu, node, paper = (keys(read_yaml(recipe(name))) for name in RECIPES[1:])
    assert gpu == node == paper and len(gpu) > 150
    assert not (extra := keys(read_yaml(recipe("cpu"))) - paper), f"stated by cpu.yaml alone: {extra}"


def leaves(tree, path=()):
    """(path, value, line) of every scalar and of every list of scalars."""
    pairs = tree.items() if isinstance(tree, CommentedMap) else enumerate(tree)
    for key, value in pairs:
        if isinstance(value, CommentedMap) or isinstance(value, CommentedSeq) and any(isinstance(v, CommentedMap) for v in value):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value, tree.lc.data[key][0]


def test_every_value_of_the_paper_has_its_source():
    lines = recipe("paper").read_text().splitlines()
    found = list(leaves(YAML(typ="rt").load(recipe("paper"))))
    assert len(found) > 250
    for path, value, line in found:
        key, text = ".".join(map(str, path)), lines[line]
        if value is None:
            assert "# not published" in text, f"paper.yaml:{line + 1}: {key} is null without `# not published`"
        else:
            assert SOURCE.search(text), f"paper.yaml:{line + 1}: {key} = {value} names no source"
            assert "# not published" not in text or "for" in text, f"paper.yaml:{line + 1}: {key} has a value"


@pytest.mark.parametrize("name", RECIPES)
def test_names_survive_dvcs_dotted_keys(name):
    values = read_yaml(recipe(name))
    names = [*values["student_base"]["students"], *values["distill"]["students"], *values["evaluate"]["models"]]
    assert not [n for n in names if "." in n], "DVC reads a dot as one level down"
