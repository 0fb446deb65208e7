"""How many accelerators a recipe needs at once for one stage: what `gpu: true` of dvc.yaml stands for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.orchestration.params import read_yaml


def needed(root: Path, params: tuple[str, ...], values: dict) -> int:
    """At least 1: processes on one machine of the accelerate file, or GPUs of the engine that is split over most.

    params: keys of params.yaml that the stage reads, of which `values` are the values; what is not there needs nothing.
    """
    engines = (gpus for key in params for gpus in _split(_value(values, key)))
    launched = _launched(root, values.get("accelerate")) if "accelerate" in params else 1
    return max([1, launched, *engines])


def _launched(root: Path, name: Any) -> int:
    """Processes that recipes/accelerate/<name>.yaml starts on each machine; its absence is the launcher's to tell."""
    path = root / "recipes" / "accelerate" / f"{name}.yaml"
    if not isinstance(name, str) or not path.is_file():
        return 1
    config = read_yaml(path)
    if config.get("use_cpu"):
        return 1
    return int(config.get("num_processes") or 1) // int(config.get("num_machines") or 1)


def _split(value: Any) -> Iterator[int]:
    """Every `tensor_parallel` in the settings of engines that run here: not of a server that somebody else started."""
    if isinstance(value, dict):
        if value.get("name") == "server" and not value.get("start"):
            return
        if isinstance(gpus := value.get("tensor_parallel"), int):
            yield gpus
        for inner in value.values():
            yield from _split(inner)


def _value(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
