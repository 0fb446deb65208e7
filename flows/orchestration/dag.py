"""The graph as dvc.yaml states it, read without DVC: stages, what each reads and writes, and who comes before whom.

A resolver of the part of DVC's templating that this repository uses: `foreach`/`do` over a mapping or a list,
`${key}`, `${item}`, `${item.x}` and `${section.key}` of params.yaml. tests/test_dag.py compares it with DVC's own.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from flows.orchestration.accelerators import needed
from flows.orchestration.params import ParamsError, read_yaml

CODE_FOLDERS = ("flows/", "tasks/")
BUILT_ELSEWHERE = "built by the worker of pool"  # in the log of a stage that has a pool
MEASURES = ("metrics", "plots")
# What `meta: {prefect: {…}}` of a stage may hold: how it is run, never what it makes, so dvc.lock does not know it.
SETTINGS = {
    "gpu": (lambda v: isinstance(v, int) and v >= 0, "true, or how many accelerators it takes"),
    "pool": (lambda v: isinstance(v, str) and v.strip() == v != "", "the name of a Prefect work pool"),
    "retries": (lambda v: _number(v, int) and 0 <= v <= 100, "a number of attempts after the first, 0 to 100"),
    "retry_delay": (lambda v: _number(v, (int, float)) and 0 <= v <= 3600, "seconds, 0 to 3600"),
}
_ITEM = re.compile(r"\w[\w.\-]*")  # no separator, no NUL, not `..`
_REFERENCE = re.compile(r"\$\{\s*([\w\-.\[\]]+)\s*\}")


@dataclass(frozen=True)
class Node:
    """One stage, resolved."""

    stage: str  # distill@qwen
    name: str  # distill
    item: str | None  # qwen
    cmd: str
    desc: str
    deps: tuple[str, ...]
    params: tuple[str, ...]  # keys of params.yaml
    outs: tuple[str, ...]  # data; metrics and plots apart
    metrics: tuple[str, ...]
    plots: tuple[str, ...]
    meta: dict = field(hash=False)
    accelerators: int = 1  # that the recipe needs for it at once

    @property
    def code(self) -> tuple[str, ...]:
        return tuple(d for d in self.deps if d.startswith(CODE_FOLDERS))

    @property
    def inputs(self) -> dict[str, str]:
        """Name -> path of every data dependency; `final` for data/01_final, `distill/qwen` for data/18_distill/qwen."""
        rest = (d for d in self.deps if not d.startswith(CODE_FOLDERS) and d.split("/")[0] not in MEASURES)
        return {short_name(d): d for d in rest}

    @property
    def others(self) -> tuple[str, ...]:
        """Dependencies that are neither code nor data: folders of metrics and plots."""
        return tuple(d for d in self.deps if d.split("/")[0] in MEASURES)

    @property
    def writes(self) -> tuple[str, ...]:
        return self.outs + self.metrics + self.plots

    def _setting(self, key: str) -> Any:
        return (self.meta.get("prefect") or {}).get(key)

    @property
    def gpu(self) -> int:
        """Accelerators that this stage takes for itself; `gpu: true` is as many as the recipe needs at once."""
        stated = self._setting("gpu")
        return self.accelerators if stated is True else int(stated or 0)

    @property
    def pool(self) -> str | None:
        """Prefect work pool whose worker builds it; None: here."""
        return self._setting("pool")

    @property
    def retries(self) -> int:
        """How often a run of the pipeline tries again after a failure."""
        return int(self._setting("retries") or 0)

    @property
    def retry_delay(self) -> float:
        """Seconds before each of those."""
        return float(self._setting("retry_delay") or 0.0)


def short_name(path: str) -> str:
    """data/18_distill/qwen -> distill/qwen; a path outside data/ keeps its whole name."""
    return re.sub(r"^\d+_", "", path[len("data/") :]) if path.startswith("data/") else path


class Dag:
    """All stages in an order in which they can run, and the edges between them."""

    def __init__(self, nodes: Iterable[Node]):
        found = {n.stage: n for n in nodes}
        _one_writer_each(found.values())
        self.upstream = {
            s: tuple(o for o in found if any(_overlap(d, w) for d in n.deps for w in found[o].writes))
            for s, n in found.items()
        }
        try:
            order = list(TopologicalSorter(self.upstream).static_order())
        except CycleError as exc:
            raise ParamsError(f"dvc.yaml: the stages form a circle: {' -> '.join(exc.args[1])}") from None
        self.nodes = {s: found[s] for s in order}
        self.downstream = {s: tuple(o for o in order if s in self.upstream[o]) for s in order}

    def __getitem__(self, stage: str) -> Node:
        if stage not in self.nodes:
            import difflib

            near = difflib.get_close_matches(
                stage, [*self.nodes, *{n.name for n in self.nodes.values()}], n=3, cutoff=0.5
            )
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ParamsError(f"dvc.yaml has no stage `{stage}`{hint} All stages: {', '.join(self.nodes)}")
        return self.nodes[stage]

    def select(self, targets: Iterable[str], downstream: bool = False) -> list[str]:
        """Targets and all they depend on, or with `downstream` all that depends on them; `distill` is every item."""
        todo = [s for t in targets for s in ([s for s, n in self.nodes.items() if n.name == t] or [self[t].stage])]
        if not todo:
            return list(self.nodes)
        edges, seen = (self.downstream if downstream else self.upstream), set()
        while todo:
            stage = todo.pop()
            if stage not in seen:
                seen.add(stage)
                todo += edges[stage]
        return [s for s in self.nodes if s in seen]


def load_dag(root: Path, params: dict | None = None) -> Dag:
    """The graph of `root`/dvc.yaml with the values of params.yaml, or of `params`, filled in."""
    stages = read_yaml(root / "dvc.yaml").get("stages")
    if not isinstance(stages, dict):
        raise ParamsError(f"{root / 'dvc.yaml'}: no `stages` mapping in it")
    values = read_yaml(root / "params.yaml") if params is None else params
    nodes = [node for name, spec in stages.items() for node in _expand(name, spec, values)]
    return Dag(replace(n, accelerators=needed(root, n.params, values)) for n in nodes)


def stage_names(root: Path) -> list[str]:
    """The names in dvc.yaml without their items: base, distill, evaluate, …"""
    return list(read_yaml(root / "dvc.yaml").get("stages") or {})


def lookup(values: dict, key: str) -> Any:
    """The value at a dotted key such as `distill.students.qwen`; KeyError where there is none."""
    value: Any = values
    for part in key.split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise KeyError(key)
    return value


def _expand(name: str, spec: dict, values: dict) -> Iterable[Node]:
    if "foreach" not in spec:
        yield _node(name, None, spec, values, f"stages.{name}")
        return
    where = f"stages.{name}.foreach"
    each = spec["foreach"]
    over = _fill(each, values, where) if isinstance(each, str) else each
    if isinstance(over, dict):
        pairs = [(str(k), {"key": k, "item": v}) for k, v in over.items()]
    elif isinstance(over, list):
        plain = not any(isinstance(v, (dict, list)) for v in over)
        pairs = [(str(v) if plain else str(i), {"item": v}) for i, v in enumerate(over)]
    else:
        raise ParamsError(f"dvc.yaml: {where}: {each} is {over!r}; expected a mapping or a list")
    for item, names in pairs:
        if not _ITEM.fullmatch(item):
            raise ParamsError(
                f"params.yaml: {item!r}, an item of stage {name}, becomes part of a path: use letters, digits, `_`, `-`, `.`"
            )
        yield _node(name, item, spec["do"], values | names, f"stages.{name}.do")


def _node(name: str, item: str | None, spec: dict, values: dict, where: str) -> Node:
    if unknown := set(spec) - {"cmd", "desc", "deps", "params", "outs", "metrics", "plots", "meta"}:
        raise ParamsError(f"dvc.yaml: {where}: `{sorted(unknown)[0]}` is not used in this repository")

    def paths(key: str) -> tuple[str, ...]:
        entries = [e if isinstance(e, str) else next(iter(e)) for e in spec.get(key) or []]
        return tuple(_text(e, values, f"{where}.{key}") for e in entries)

    _check_meta(spec.get("meta") or {}, where)
    stage = name if item is None else f"{name}@{item}"
    cmd = _text(spec.get("cmd", ""), values, f"{where}.cmd")
    parts = {key: paths(key) for key in ("deps", "params", "outs", "metrics", "plots")}
    for path in (*parts["outs"], *parts["metrics"], *parts["plots"]):
        if Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
            raise ParamsError(f"dvc.yaml: {where}: {stage} would write {path!r}, which is not inside the repository")
    return Node(
        stage=stage, name=name, item=item, cmd=cmd, desc=spec.get("desc", ""), meta=spec.get("meta") or {}, **parts
    )


def _check_meta(meta: dict, where: str) -> None:
    """Refuse settings that nobody would read, and values that could not be meant."""
    settings = meta.get("prefect") or {}
    if not isinstance(settings, dict):
        raise ParamsError(f"dvc.yaml: {where}.meta.prefect is {settings!r}; expected a mapping")
    for key, value in settings.items():
        at = f"dvc.yaml: {where}.meta.prefect.{key}"
        if key not in SETTINGS:
            raise ParamsError(f"{at}: unknown key; known: {', '.join(SETTINGS)}")
        fits, expected = SETTINGS[key]
        if not fits(value):
            raise ParamsError(f"{at} is {value!r}; expected {expected}")


def _number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _fill(template: str, values: dict, where: str) -> Any:
    """`${a.b}` alone gives the value itself; inside a longer text, its text."""

    def value_of(match: re.Match) -> Any:
        try:
            return lookup(values, match[1].replace("[", ".").replace("]", ""))
        except KeyError:
            raise ParamsError(f"dvc.yaml: {where}: params.yaml has no key for {match[0]}") from None

    if whole := _REFERENCE.fullmatch(template):
        return value_of(whole)
    return _REFERENCE.sub(lambda m: str(value_of(m)), template)


def _text(template: str, values: dict, where: str) -> str:
    value = _fill(template, values, where)
    if value is None or isinstance(value, (dict, list)):
        raise ParamsError(f"dvc.yaml: {where}: {template} is {value!r} in params.yaml; expected a text")
    return str(value)


def _overlap(a: str, b: str) -> bool:
    """Same path, or one lies inside the other."""
    return a == b or a.startswith(b + "/") or b.startswith(a + "/")


def _one_writer_each(nodes: Iterable[Node]) -> None:
    owner: dict[str, str] = {}
    for node in nodes:
        for path in node.writes:
            if path in owner:
                raise ParamsError(f"dvc.yaml: {path} is written by both {owner[path]} and {node.stage}")
            owner[path] = node.stage
