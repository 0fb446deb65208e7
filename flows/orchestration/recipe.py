"""Recipes: the same keys at several scales, checked against the stages' types and put in force as params.yaml."""

import difflib
import importlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from flows.orchestration.dag import load_dag, stage_names
from flows.orchestration.params import ParamsError, Top, explain, read_yaml, scalars
from flows.orchestration.publish import write_atomically


def recipe_file(root: Path, name: str) -> Path:
    """recipes/<name>.yaml, or the file itself where `name` is a path."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else root / "recipes" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in (root / "recipes").glob("*.yaml"))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise ParamsError(f"there is no recipe {path}; {hint}recipes here: {', '.join(known) or 'none'}")
    return path


def validate(root: Path, path: Path, unpublished: bool = False, values: dict | None = None) -> dict[str, BaseModel]:
    """Every section of this file as its stage's Params, by stage name; a ParamsError lists all that is wrong at once.

    `unpublished` lets `null  # not published` pass: to check or plan recipes/paper.yaml, not to run it. `values` are
    checked in place of what the file holds.
    """
    values = read_yaml(path) if values is None else values
    file = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    names = stage_names(root)
    problems = [*_sections(values, names, file), *_typed(Top, scalars(values), file, "", {}, unpublished)]
    sections: dict[str, BaseModel] = {}
    for name in names:
        if isinstance(values.get(name), dict):
            try:
                model = params_model(name)
            except ParamsError as exc:
                problems.append(str(exc))
                continue
            problems += _typed(model, values[name], file, name, sections, unpublished)
    if not problems and not unpublished:
        load_dag(root, values)  # the references of dvc.yaml into this file
    if problems:
        raise ParamsError("\n".join(problems))
    return sections


def params_model(stage: str) -> type[BaseModel]:
    """class Params of flows/<stage>.py."""
    try:
        return importlib.import_module(f"flows.{stage}").Params
    except ModuleNotFoundError as exc:
        if exc.name == f"flows.{stage}":
            raise ParamsError(f"dvc.yaml: stage `{stage}` has no flows/{stage}.py") from None
        raise
    except AttributeError:
        raise ParamsError(f"flows/{stage}.py has no class Params") from None


def _typed(model: type[BaseModel], value: Any, file: str, section: str, into: dict, unpublished: bool) -> list[str]:
    try:
        into[section] = model.model_validate(value, context={"unpublished": unpublished})
    except ValidationError as exc:
        return explain(exc, model, file, section)
    return []


def _sections(values: dict, names: list[str], file: str) -> Iterator[str]:
    for name in names:
        if name not in values:
            yield f"{file}: section `{name}` is missing: dvc.yaml has a stage of this name"
        elif not isinstance(values[name], dict):
            yield f"{file}: {name}: expected a section (a mapping), found {values[name]!r}"
    for key, value in values.items():
        if isinstance(value, dict) and key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            yield f"{file}: section `{key}` belongs to no stage of dvc.yaml{hint}"


def put_in_force(root: Path, name: str, force: bool = False) -> list[str]:
    """Copy a recipe to params.yaml; the list of keys that change, as text. Refuses to lose edits unless `force`."""
    source, target = recipe_file(root, name), root / "params.yaml"
    validate(root, source)
    text = source.read_text(encoding="utf-8")
    old = target.read_text(encoding="utf-8") if target.is_file() else ""
    if old == text:
        return []
    before = read_yaml(target) if old else {}
    if old and not _kept_elsewhere(root, old, before):
        if not force:
            raise ParamsError(
                f"{target} holds edits that are in no recipe; {source.name} would replace them. Save them as a "
                "recipe (`cp params.yaml recipes/mine.yaml`), or say --force, which keeps them in params.yaml.bak"
            )
        shutil.copy2(target, root / "params.yaml.bak")
    changes = list(differences(before, read_yaml(source)))
    write_atomically(target, text)
    return changes


def _kept_elsewhere(root: Path, text: str, values: dict) -> bool:
    """Whether params.yaml is one of the recipes as it stands now, or as it was last committed."""
    for path in (root / "recipes").glob("*.yaml"):
        if path.read_text(encoding="utf-8") == text or read_yaml(path) == values:
            return True
    name = values.get("recipe")
    shown = subprocess.run(["git", "show", f"HEAD:recipes/{name}.yaml"], cwd=root, capture_output=True, text=True)
    return shown.returncode == 0 and shown.stdout == text


def differences(before: Any, after: Any, key: str = "") -> Iterator[str]:
    """`section.key: old -> new` for every value in which two parameter files differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(k for k in after if k not in before)]:
            yield from differences(
                before.get(name, "(absent)"), after.get(name, "(absent)"), f"{key}.{name}" if key else name
            )
    elif before != after:
        yield f"{key}: {_short(before)} -> {_short(after)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"
