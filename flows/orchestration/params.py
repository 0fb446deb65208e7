"""params.yaml and the recipes: read strictly, checked against the types of the stages, explained in full.

An error names the file, the key path, what was found and what is allowed, and the nearest key to a misspelt one.
"""

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, StrictInt, ValidationError

from flows.orchestration.root import ParamsError, find_root  # noqa: F401  (find_root is looked for here)
from tasks.settings import Settings


class Top(Settings):
    """The top-level scalars of params.yaml, in force for every stage."""

    recipe: str = Field(min_length=1, description="name of the recipe, for the report")
    seed: StrictInt = Field(ge=0, description="run seed; each stage derives its own from it")
    threads: StrictInt = Field(ge=1, description="threads of one stage; another number gives other bits")
    template: str = Field(min_length=1, description="prompt template, tasks/prompts/templates.py")
    accelerate: str | None = Field(
        None,
        min_length=1,
        description="file in recipes/accelerate/ that training stages are launched with; null: in their own process",
    )
    execution: Literal["local", "ray"] = Field(
        "local", description="where batches and shards are worked on (tasks/execution.py); changes no byte of any output"
    )


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML without silently overridden keys."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if isinstance(key, str) and key != "<<":
            line = key_node.start_mark.line + 1
            if key in seen:
                raise ParamsError(
                    f"{key_node.start_mark.name}: key `{key}` stands twice, in lines {seen[key]} and {line}"
                )
            seen[key] = line
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict:
    """A YAML file whose top level is a mapping."""
    if not path.is_file():
        raise ParamsError(f"{path} is missing")
    try:
        with open(path, encoding="utf-8") as f:
            data = yaml.load(f, Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ParamsError(f"{path} is no valid YAML: {exc}") from exc
    if not isinstance(data, dict):
        raise ParamsError(f"{path}: expected a mapping of keys to values, found {type(data).__name__}")
    return data


def scalars(data: dict) -> dict:
    """The top-level entries that are no section of a stage."""
    return {k: v for k, v in data.items() if not isinstance(v, dict)}


def check(model: type[BaseModel], value: Any, file: str, section: str = "") -> BaseModel:
    """`value` as `model`, or a ParamsError that lists everything wrong with it."""
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        raise ParamsError("\n".join(explain(exc, model, file, section))) from None


def explain(exc: ValidationError, model: type[BaseModel], file: str, section: str = "") -> list[str]:
    """One line per error: file, key path, what is wrong, what is allowed."""
    lines = []
    for error in exc.errors(include_url=False):
        path = [str(p) for p in error["loc"]]
        where = ".".join([section, *path] if section else path) or "(top level)"
        if error["type"] == "extra_forbidden":
            known = _keys_at(model, error["loc"][:-1])
            near = difflib.get_close_matches(path[-1], known, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            lines.append(f"{file}: {where}: unknown key; {hint}allowed here: {', '.join(known) or 'nothing'}")
        elif error["type"] == "missing":
            lines.append(f"{file}: {where}: required key is missing{_described(model, error['loc'])}")
        else:
            message = error["msg"].removeprefix("Value error, ")
            found = "" if isinstance(error["input"], dict) else f", found {error['input']!r}"
            lines.append(f"{file}: {where}: {message}{found}{_described(model, error['loc'])}")
    return lines


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]


def _fields_at(model: type[BaseModel], loc: tuple) -> list[type[BaseModel]]:
    """The models that may stand at `loc` inside `model`; list indices, dict keys and union tags are stepped over."""
    models = [model]
    for part in loc:
        inside = [
            m for owner in models if part in owner.model_fields for m in _models_in(owner.model_fields[part].annotation)
        ]
        models = inside or models
    return models


def _keys_at(model: type[BaseModel], loc: tuple) -> list[str]:
    return sorted({key for m in _fields_at(model, loc) for key in m.model_fields})


def _described(model: type[BaseModel], loc: tuple) -> str:
    for owner in _fields_at(model, loc[:-1]) if loc else []:
        if (field := owner.model_fields.get(loc[-1])) and field.description:
            return f" ({field.description})"
    return ""
