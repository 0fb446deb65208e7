"""Experiments: other values of params.yaml, typed as the stages type them, checked as params.yaml is, run by `dvc exp run`.

`changes_model` is params.yaml as a form: a field for every value the recipe states, with the type, range and words of
the stage's Params, nothing filled in. What was filled in becomes `dvc exp run --set-param`, so the experiment has
a params.yaml and a dvc.lock of its own and what is in force stays as it is.
"""

import json
import re
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model, model_serializer

from flows.orchestration.dag import load_dag, lookup, stage_names
from flows.orchestration.params import ParamsError, Top, explain, read_yaml, scalars
from flows.orchestration.recipe import params_model

ANYTHING = object()  # no annotation known
HOW = {"recipe", "threads", "accelerate", "execution"}  # how a run goes, not what it tries: no fields of the form


class Form(BaseModel):
    """A part of the form; what was not filled in is not there, so that Prefect shows an empty field."""

    model_config = ConfigDict(extra="forbid")

    @model_serializer(mode="wrap")
    def _filled_in(self, handler) -> dict | None:
        inside = handler(self)  # None where a part of the form is not there at all
        return inside and {k: v for k, v in inside.items() if v not in (None, {})}


def changes_model(root: Path) -> type[BaseModel]:
    """The values of `root`/params.yaml as a form in which every field may stay empty."""
    values = read_yaml(root / "params.yaml")
    own = {k: v for k, v in values.items() if k in Top.model_fields and k not in HOW}
    sections = {n: values[n] for n in stage_names(root) if isinstance(values.get(n), dict)}
    top = {k: (Top.model_fields[k].annotation, _metadata(Top, k), _words(Top, k)) for k in own}
    stages = {n: (params_model(n), (), f"section `{n}` of params.yaml") for n in sections}
    return _form("Changes", own | sections, top | stages)


def overrides(changes: BaseModel) -> dict[str, Any]:
    """Dotted key -> value of every field that was filled in."""
    return dict(_leaves(changes.model_dump(by_alias=True)))


def further(lines: Iterable[str]) -> dict[str, Any]:
    """`section.key=value` lines, the value as YAML has it; for keys that the recipe does not state."""
    found = {}
    for line in lines:
        key, sign, text = line.partition("=")
        if not sign or not key.strip():
            raise ParamsError(f"`{line}` is no override: expected section.key=value, e.g. r1.grpo.kl_beta=0.001")
        try:
            found[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            raise ParamsError(f"`{line}`: the value is no YAML: {exc}") from None
    return found


def checked(root: Path, changed: dict[str, Any]) -> list[str]:
    """The changes as arguments of `dvc exp run --set-param`; ParamsError where params.yaml would refuse one of them."""
    values = read_yaml(root / "params.yaml")
    arguments = []
    for key, value in changed.items():
        try:
            known = lookup(values, key) is not ANYTHING
        except KeyError:
            known = False
        _put(values, key.split("."), value, key)
        arguments.append(f"{'' if known else '+'}{key}={_hydra(value)}")
    problems = []
    for section in dict.fromkeys(key.split(".")[0] for key in changed):
        inside = isinstance(values[section], dict)
        model, value = (params_model(section), values[section]) if inside else (Top, scalars(values))
        try:
            model.model_validate(value)
        except ValidationError as exc:
            problems += explain(exc, model, "the experiment", section if inside else "")
    if problems:
        raise ParamsError("\n".join(dict.fromkeys(problems)))
    load_dag(root, values)  # what dvc.yaml refers to is still there
    return arguments


def _form(name: str, values: dict, known: dict[str, tuple]) -> type[BaseModel]:
    """A model with a field for each of `values`; `known`: key -> (annotation, constraints, description)."""
    fields: dict[str, Any] = {}
    for i, (key, value) in enumerate(values.items()):
        annotation, constraints, words = known.get(key, (ANYTHING, (), ""))
        if isinstance(value, dict):
            kind = _form(f"{name}.{key}", value, _inside(annotation, value))
            if not kind.model_fields:
                continue
        else:
            kind = _leaf(annotation, constraints, value)
            if kind is None:
                continue
            words = f"now {json.dumps(value, ensure_ascii=False)}" + (f"; {words}" if words else "")
        fields[f"f{i}"] = (
            kind,
            Field(None, alias=str(key), title=str(key), description=words, json_schema_extra=_nothing_filled_in),
        )
    return create_model(name, __base__=Form, **fields)


def _nothing_filled_in(schema: dict) -> None:
    schema.pop("default", None)


def _inside(annotation: Any, value: dict) -> dict[str, tuple]:
    """What is known of the keys of a mapping whose field has this annotation."""
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            fields = option.model_fields
            if set(value) <= set(fields):
                return {k: (fields[k].annotation, _metadata(option, k), _words(option, k)) for k in value}
        elif get_origin(option) is dict:
            return {k: (get_args(option)[1], (), "") for k in value}
    return {}


def _leaf(annotation: Any, constraints: tuple, value: Any) -> Any:
    """The type of a form's field: the stage's own where it is plain, else that of the value; None: too deep for a form."""
    plain = [a for a in _options(annotation) if a is not types.NoneType]
    if len(plain) == 1 and _is_plain(plain[0]):
        kind = Annotated[plain[0], *constraints] if constraints else plain[0]
        try:
            if value is not None:
                TypeAdapter(kind).validate_python(value)
            return kind
        except ValidationError:
            pass
    if isinstance(value, bool | str):
        return type(value)
    if isinstance(value, int | float):
        return float
    return list[str] if isinstance(value, list) and value and all(isinstance(v, str) for v in value) else None


def _is_plain(annotation: Any) -> bool:
    if get_origin(annotation) in (list, tuple):
        return get_args(annotation)[:1] == (str,)
    return annotation in (bool, int, float, str) or get_origin(annotation) is Literal


def _options(annotation: Any) -> tuple:
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(o for a in get_args(annotation) for o in _options(a))
    return (annotation,)


def _metadata(model: type[BaseModel], key: str) -> tuple:
    return tuple(model.model_fields[key].metadata)


def _words(model: type[BaseModel], key: str) -> str:
    return model.model_fields[key].description or ""


def _leaves(values: dict, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _put(values: dict, path: list[str], value: Any, key: str) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {}) if isinstance(values, dict) else None
        if not isinstance(values, dict):
            raise ParamsError(f"{key}: `{part}` is no section of params.yaml")
    values[path[-1]] = value


def _hydra(value: Any) -> str:
    """A value in the grammar of `--set-param` (Hydra's override grammar)."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_hydra(str(k))}:{_hydra(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_hydra, value)) + "]"
    if isinstance(value, str):  # a backslash means itself, but before a quote or at the end
        return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value) + "'"
    return json.dumps(value)


def command(name: str, arguments: list[str], targets: Iterable[str]) -> list[str]:
    """`dvc exp run` in a copy of the checkout, as arguments of dvc: what is in force here stays as it is."""
    words = ["exp", "run", "--temp", *(["--name", name] if name else [])]
    return words + [w for a in arguments for w in ("--set-param", a)] + list(targets)


def branched_off(line: str) -> bool:
    """Whether this line of dvc's output says that the copy is made: from here on the checkout is free again."""
    return line.startswith(("Running stage", "Stage '", "Reproducing experiment"))


def compared(diff: dict) -> list[dict]:
    """Rows {metric, before, after, change} of `dvc metrics diff --json EXPERIMENT`, which compares it with what is here."""
    return [
        {"metric": f"{file.removesuffix('.json')}: {key}", "before": v.get("new"), "after": v.get("old"),
         "change": -v["diff"] if isinstance(v.get("diff"), int | float) else None}
        for file, metrics in diff.items() for key, v in metrics.items()
    ]  # fmt: skip
