"""What if: the same forecast with a few values changed, beside the one without.

    changes(["candidates.samples=16", "r1_zero.grpo.max_tokens=[[0, 16384]]", "gpus=64", "assume.verify_seconds=1"])

A key is one of the recipe's, `gpus`, `price`, `device`, or `assume.` and a field of Assumptions.
"""

import math
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows.orchestration.forecast.plan import Plan, filled, make_plan
from flows.orchestration.params import ParamsError, read_yaml
from tasks.reporting.forecast.devices import DEVICES

OWN = ("gpus", "price", "device")  # keys that are none of the recipe


@dataclass(frozen=True)
class Changes:
    """Parsed `key=value` texts."""

    recipe: dict[str, Any]
    own: dict[str, Any]
    assumed: dict[str, Any]

    @property
    def all(self) -> dict[str, Any]:
        return self.recipe | self.own | {f"assume.{k}": v for k, v in self.assumed.items()}


def changes(texts: list[str]) -> Changes:
    """ParamsError for a text without `=`, a value that is no YAML, or an impossible number of devices."""
    recipe, own, assumed = {}, {}, {}
    for text in texts:
        key, equals, said = text.partition("=")
        try:
            value = yaml.safe_load(said)
        except yaml.YAMLError:
            raise ParamsError(f"--what-if {text}: {said!r} is no YAML value") from None
        if not equals or not key.strip() or not said.strip():
            raise ParamsError(
                f"--what-if {text}: expected key=value, such as candidates.samples=16 or gpus=64; nothing is `null`"
            )
        key = key.strip()
        if key in OWN:
            own[key] = _own(key, value)
        elif key.startswith("assume."):
            assumed[key.removeprefix("assume.")] = value
        else:
            recipe[key] = value
    return Changes(recipe, own, assumed)


def _own(key: str, value: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {
        "gpus": number and isinstance(value, int) and value >= 1, "price": number and 0 <= value < math.inf, "device": isinstance(value, str) and value in DEVICES,
    }[key]  # fmt: skip
    if not fits:
        allowed = {
            "gpus": "a number of devices, 1 or more",
            "price": "dollars an hour",
            "device": f"one of {', '.join(DEVICES)}",
        }
        raise ParamsError(f"--what-if {key}={value}: expected {allowed[key]}")
    return value


def forecast(root: Path, path: Path, changed: Changes, device=None, gpus=None, price=None) -> Plan:
    """The plan of the recipe at `path` with the changes made."""
    values = deepcopy(read_yaml(path))
    for key, value in changed.recipe.items():
        _put(values, key, value, path)
    own = {"device": device, "gpus": gpus, "price": price} | changed.own
    checked = filled(root, path, values)
    return make_plan(checked, root, own["device"], own["gpus"], own["price"], changed.assumed)


def _put(values: dict, key: str, value: Any, path: Path) -> None:
    *sections, last = key.split(".")
    if key == "recipe":
        raise ParamsError("--what-if recipe: another recipe is another forecast: use --recipe")
    where = values
    for depth, part in enumerate(sections):
        where = where.get(part) if isinstance(where, dict) else None
        if not isinstance(where, dict):
            raise ParamsError(f"--what-if {key}: {path} has no section `{'.'.join(sections[: depth + 1])}`")
    if not sections and last not in values:
        raise ParamsError(f"--what-if {key}: {path} has no such value; others are {', '.join(OWN)} and assume.…")
    where[last] = value
