"""How every stage runs: typed params, guard, body, atomic publish, and a Prefect run where a server answers.

    from flows.orchestration.stage import Run, stage

    class Params(Settings): ...               # its section of params.yaml

    def body(p: Params, run: Run) -> dict:    # writes into run.out, returns the metrics
        ...

    if __name__ == "__main__":
        stage(body, Params)

`python -m flows.distill qwen` runs item `qwen`. What the stage reads and writes is looked up in dvc.yaml.
"""

import contextlib
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.orchestration import guard, publish, slots, tracking
from flows.orchestration.dag import Dag, Node, load_dag, lookup
from flows.orchestration.execution import open_execution
from flows.orchestration.params import ParamsError, Top, check, explain, find_root, read_yaml, scalars
from flows.orchestration.progress import Progress, human
from flows.orchestration.run_book import RunBook
from tasks.execution import Execution, ExecutionError
from tasks.provenance.artifacts import ArtifactError
from tasks.rows import derive_seed
from tasks.settings import Settings

Body = Callable[[Settings, "Run"], dict]
BAD_INPUT = 2  # exit status where the remedy is in the user's hands and said in the message


class StageError(Exception):
    """The stage broke the contract that dvc.yaml states for it."""


class Run:
    """One run of one stage: what it may read, where it writes, how it tells how far it is."""

    def __init__(self, node: Node, top: Top, root: Path, space: publish.Workspace):
        self.node, self.root = node, root
        self.name, self.item, self.stage = node.name, node.item, node.stage
        self.threads = top.threads
        self.work, self.outs = space.folder, space.outs
        self.inputs: dict[str, Path] = {name: root / path for name, path in node.inputs.items()}
        self.progress = Progress(node.stage)
        self.curve_rows: list[dict] | None = None
        self._top = top

    @functools.cached_property
    def execution(self) -> Execution:
        """Where its shards and batches are worked on; no entry of `params` in dvc.yaml, since no result depends on it.

        Nothing is started before it is used; what was started ends with the body.
        """
        environment = guard.environment(self.threads)
        return open_execution(self._top.execution, self.threads, environment, folder=Path.cwd())

    def _declared(self, key: str):
        if key not in self.node.params:
            raise StageError(f"{self.stage} uses `{key}`, but dvc.yaml does not list it under `params` of {self.name}")
        return getattr(self._top, key)

    @property
    def root_seed(self) -> int:
        return self._declared("seed")

    @property
    def seed(self) -> int:
        """Seed of this stage, derived from the run's seed and the stage's name."""
        return derive_seed(self.root_seed, self.stage)

    @property
    def template(self) -> str:
        return self._declared("template")

    @property
    def accelerate(self) -> Path | None:
        """The file in recipes/accelerate/ to launch the training with; None: in this process."""
        from tasks.training.launch import config_file

        return config_file(self.root, self._declared("accelerate"))

    @property
    def recipe(self) -> str:
        return self._declared("recipe")

    @property
    def out(self) -> Path:
        """The folder that becomes the stage's one data out."""
        if len(self.outs) != 1:
            raise StageError(f"{self.stage} has {len(self.outs)} outs: name one, run.outs[…] of {', '.join(self.outs)}")
        return next(iter(self.outs.values()))

    def input(self, name: str) -> Path:
        """The published artifact `prompts`, `final`, `base`, `distill/qwen`, …: a dependency in dvc.yaml."""
        if name not in self.inputs:
            declared = ", ".join(self.inputs) or "none"
            raise StageError(f"{self.stage} has no input `{name}` among its deps in dvc.yaml; declared: {declared}")
        return self.inputs[name]

    def input_path(self, path: str) -> Path:
        """Any declared dependency by its path in dvc.yaml, e.g. `metrics`."""
        if path not in self.node.deps:
            raise StageError(f"{self.stage} has no dep `{path}` in dvc.yaml; declared: {', '.join(self.node.deps)}")
        return self.root / path

    def log(self, text: str) -> None:
        self.progress.say(f"[{self.stage}] {text}")

    def curve(self, rows: list[dict]) -> None:
        """The whole table of the stage's plot, written at publish."""
        if not self.node.plots:
            raise StageError(f"{self.stage} draws a curve, but dvc.yaml lists no `plots` for it")
        self.curve_rows = list(rows)


def stage(body: Body, model: type[Settings]) -> None:
    """Run this stage and end the process: status 0 with everything published, else with a message and nothing."""
    name = _this_stage()
    try:
        _stage(name, body, model)
    except (ParamsError, StageError, ArtifactError, ExecutionError, publish.PublishError, guard.BusyError) as exc:
        _fail(name, str(exc))
    except ValidationError as exc:
        _fail(name, "\n".join(explain(exc, model, "settings")))
    except KeyboardInterrupt:
        _fail(name, "interrupted; nothing was published, and the next run goes on from what stands in its work folder")
    except MemoryError:
        _fail(name, "out of memory; nothing was published. Lower micro_batch or use a machine with more.")
    except Exception as exc:
        if publish.disk_is_full(exc):
            story = publish.disk_story(exc, find_root() / "work" / name)
            _fail(name, f"{story}. What was published before is unchanged; free some space and run it again.")
        traceback.print_exc()
        _fail(name, f"{type(exc).__name__}: {exc}")


def _fail(name: str, message: str) -> None:
    print(f"[{name}] failed: {message}", file=sys.stderr, flush=True)
    tracking.leave(BAD_INPUT)


def _this_stage() -> str:
    """Stage name from `python -m flows.<name> [item]`; DVC says the same in DVC_STAGE."""
    spec = sys.modules["__main__"].__spec__
    if spec is None:
        raise SystemExit("run a stage as `python -m flows.<name> [item]`, not as a file")
    return "@".join([spec.name.removeprefix("flows."), *sys.argv[1:2]])


def _stage(name: str, body: Body, model: type[Settings]) -> None:
    if "DVC_STAGE" in os.environ:
        guard.die_with_parent()
    root = find_root()
    values = read_yaml(root / "params.yaml")
    top = check(Top, scalars(values), "params.yaml")
    guard.settle(top.threads)  # may start the program anew
    dag = load_dag(root, values)
    node = _node(dag, name)
    params = check(model, values.get(node.name, {}), "params.yaml", node.name)
    os.chdir(root)
    lock = guard.hold(root, node.stage)
    _need_inputs(dag, node, root)
    limits = slots.take(node.stage, node.gpu, top.threads, lambda said: _waits(node.stage, said))
    code = publish.code_version(root, node)
    declared = {key: lookup(values, key) for key in node.params}
    _leave_out_quantisation(declared)
    space = publish.Workspace(root, node, publish.fingerprint(root, node, declared, code))
    run = Run(node, top, root, space)
    if space.resumed:
        run.log(f"resuming from {space.folder.relative_to(root)}")
    facts = {"stage": node.stage, "seed": top.seed, "code": code, "params": declared}
    tracking.run(run, lambda: _build(body, params, run, space, facts), declared)
    for held in (lock, limits):
        held.close()
    tracking.leave(0)


def _leave_out_quantisation(declared: dict) -> None:
    """Hide bitsandbytes from a stage that cannot use it: neither a GPU nor an adapter is there.

    transformers imports peft, peft imports bitsandbytes and that torch's compiler, wherever they are installed: a quarter
    of the CPU time until a stage's first step.
    """
    adapters = any(key == "lora" and value for key, value in _entries(declared))
    if not adapters and not Path("/dev/nvidiactl").exists() and not Path("/dev/kfd").exists():
        sys.modules.setdefault("bitsandbytes", None)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of nested settings, with its value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _entries(inner)


def _waits(stage: str, said: str) -> None:
    """For the log and for who watches the stage's progress."""
    Progress(stage)(0, 0, note=said)
    print(f"[{stage}] {said}", flush=True)


def _node(dag: Dag, name: str) -> Node:
    items = [n.item for n in dag.nodes.values() if n.name == name and n.item]
    if items:
        raise ParamsError(f"`python -m flows.{name}` needs an item: {', '.join(items)}")
    return dag[name]


def _need_inputs(dag: Dag, node: Node, root: Path) -> None:
    """StageError where an input is missing, or part of one: of a folder that several stages fill, DVC pulls nothing."""
    made = [out for up in dag.upstream[node.stage] for out in dag[up].outs]
    within = [out for out in made if any(out.startswith(f"{dep}/") for dep in node.deps)]
    for path in (*within, *node.deps):
        if not (root / path).exists():
            makers = [s for s in dag.upstream[node.stage] if path in dag[s].outs]
            remedy = (
                f"make it with `r1 run {makers[0]}`, or fetch it with `dvc pull {makers[0]}`"
                if makers
                else "it is no output of any stage: put it there, or correct params.yaml"
            )
            raise StageError(f"{node.stage} needs {path}, which is missing; {remedy}")
    if half := publish.half_published(root, dag.upstream[node.stage]):
        raise StageError(
            f"{half[0]} was stopped while it published, so its outs may not belong together; "
            f"finish it with `r1 run {half[0]}`, or make it anew with `r1 run --force {half[0]}`"
        )


def _build(body: Body, params: Settings, run: Run, space: publish.Workspace, facts: dict) -> dict:
    """The body, then everything it made into place; the metrics."""
    book = RunBook(run.root, run.node)
    if space.measures is None:
        with run.execution:
            metrics = body(params, run)
        run.progress.close()
        measures = _measures(run, metrics)
        if missing := space.missing():
            raise StageError(f"{run.stage} ended without writing {', '.join(missing)}")
        space.seal(measures, **facts)
    else:
        run.log("finished by an earlier run, which was stopped while it published")
        metrics = json.loads(next((space.measures[path] for path in run.node.metrics), "{}"))
    size = space.publish()
    with contextlib.suppress(OSError):  # from here on a full disk, the log's too, takes nothing back
        try:
            run.log(f"done in {human(book.write(run, space.resumed, size))}")
        except OSError as exc:
            run.log(f"done, and published; what it cost could not be noted: {exc}")
    return metrics


def _measures(run: Run, metrics: dict) -> dict[str, str]:
    """Path -> text of the metrics and plots that dvc.yaml lists for this stage."""
    node = run.node
    if bool(metrics) != bool(node.metrics):
        raise StageError(
            f"{run.stage} returned {'' if metrics else 'no '}metrics, but dvc.yaml lists {list(node.metrics) or 'none'}"
        )
    if node.plots and run.curve_rows is None:
        raise StageError(f"{run.stage} drew no curve, but dvc.yaml lists {node.plots[0]}")
    texts = {path: publish.as_csv(run.curve_rows) for path in node.plots}
    return texts | {path: publish.as_json(metrics) for path in node.metrics}
