"""What can be triggered from the UI: the pipeline, one stage, another recipe, an experiment, the books, a comparison.

Prefect derives each form from the parameters below, so stages and recipes are Literals of what dvc.yaml, params.yaml
and recipes/ hold when this module is imported; the runner registers them again when those files change. Every
deployment does what a command does and never less, so dvc.lock is the same as after `r1 run`, `dvc repro
--single-item`, `r1 run --recipe` and `dvc exp run`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from prefect import flow, task
from prefect.context import FlowRunContext, TaskRunContext
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel

from flows.orchestration import commands, experiment, in_force, tracking
from flows.orchestration import pipeline as stages
from flows.orchestration.child import GOOD, Children
from flows.orchestration.dag import load_dag
from flows.orchestration.params import ParamsError, Top, check, find_root, read_yaml, scalars
from flows.orchestration.recipe import put_in_force, recipe_file

ROOT = find_root()


def stages_of(file: Path) -> list[str]:
    """The stages of one recipe in the order in which they can run; none where it cannot be run as it stands."""
    try:
        return list(load_dag(ROOT, read_yaml(file)).nodes)
    except ParamsError:
        return []


RECIPES = {p.stem: stages_of(p) for p in sorted((ROOT / "recipes").glob("*.yaml"))}
STAGES = stages_of(ROOT / "params.yaml")
Stage = Literal[tuple(STAGES)]
Recipe = Literal[tuple(RECIPES)]
AnyStage = Literal[tuple(dict.fromkeys(s for names in (STAGES, *RECIPES.values()) for s in names))]
Changes: type[BaseModel] = experiment.changes_model(ROOT)


def _named() -> str:
    """The run's name: what it was asked for."""
    asked = flow_run.parameters
    what = asked.get("targets") or ([asked["stage"]] if asked.get("stage") else [])
    parts = [asked.get("recipe"), asked.get("name"), ", ".join(what[:3]) + (f" +{len(what) - 3}" if what[3:] else "")]
    return f"{flow_run.flow_name}: {' · '.join(filter(None, parts)) or 'all stages'}"


def deployed(name: str) -> Callable:
    """A flow of this name whose failures are one message and whose prints are the run's log."""
    runner = ThreadPoolTaskRunner(max_workers=64)
    return flow(name=name, flow_run_name=_named, task_runner=runner, log_prints=True, persist_result=False)


@deployed("pipeline")
def pipeline(targets: list[Stage] = [], downstream: bool = False, force: bool = False) -> State:  # noqa: B006
    """Bring the recipe in force up to date: every stale stage, independent ones side by side, as `r1 run` does.

    Args:
        targets: Stages to bring up to date, with all they need. None: every stage.
        downstream: The targets and all that depends on them, instead of all they need.
        force: Run the targets even where nothing changed; what they need is not run again.
    """
    return ended(lambda: stages.run(ROOT, list(targets), force=force, downstream=downstream))


@deployed("stage")
def stage(stage: Stage, force: bool = False) -> State:
    """One stage through DVC, as `dvc repro --single-item` does: its inputs are taken as they are.

    Args:
        stage: The stage.
        force: Run it even where nothing changed.
    """

    def one() -> int:
        children = Children(ROOT, check(Top, scalars(read_yaml(ROOT / "params.yaml")), "params.yaml").threads,
                            {stage} if force else ())  # fmt: skip
        with in_force.building(ROOT), commands.ending(children.stop):
            outcome = task(name=stage, persist_result=False)(lambda: children.run(load_dag(ROOT)[stage], here()))()
        print(f"{stage}: {outcome.state} after {outcome.seconds:.0f} s. {outcome.message}")
        return outcome.state not in GOOD

    return ended(one)


@deployed("recipe")
def recipe(recipe: Recipe, targets: list[AnyStage] = [], replace_edits: bool = False) -> State:  # noqa: B006
    """Put another recipe in force and bring it up to date, as `r1 run --recipe` does. Waits for runs in this checkout.

    Args:
        recipe: A file of recipes/; it replaces params.yaml.
        targets: Stages to bring up to date, with all they need; a recipe has its own. None: every stage.
        replace_edits: Where params.yaml holds edits that are in no recipe: replace them (they stay in params.yaml.bak).
    """

    def other() -> int:
        if strangers := [t for t in targets if t not in RECIPES[recipe]]:
            raise ParamsError(f"{recipe_file(ROOT, recipe)} has no stage {', '.join(strangers)}")
        with in_force.changing(ROOT):
            for change in put_in_force(ROOT, recipe, force=replace_edits):
                print(change)
        return stages.run(ROOT, list(targets))

    return ended(other)


@deployed("experiment")
def run_experiment(
    name: str = "",
    targets: list[Stage] = [],  # noqa: B006
    changes: Changes = Changes(),  # noqa: B008
    further: list[str] = [],  # noqa: B006
) -> State:
    """Run with other values of params.yaml, by `dvc exp run` in a copy: what is in force here stays as it is.

    `dvc exp show` compares experiments, `dvc exp apply NAME` puts one in force.

    Args:
        name: Name of the experiment, letters, digits and dashes. Empty: DVC finds one.
        targets: Stages to bring up to date, with all they need. None: every stage.
        changes: Values of params.yaml to change; what stays empty keeps its value.
        further: Values that the recipe does not state, one `section.key=value` each, as YAML.
    """

    def experimental() -> int:
        changed = experiment.overrides(changes) | experiment.further(further)
        if not changed:
            raise ParamsError("nothing to try: fill in a value under changes, or a line under further")
        arguments = experiment.checked(ROOT, changed)
        print(f"dvc exp run: {', '.join(arguments)}")
        words = experiment.command(name, arguments, targets)
        run = task(name="dvc exp run", persist_result=False)(lambda: commands.experiment(ROOT, words, here()))
        status, found = run()
        if found:
            commands.show_comparison(ROOT, found, changed)
        return status

    return ended(experimental)


@deployed("audit")
def audit() -> State:
    """Prove the books, as `r1 audit` does: chains of every row, counts, checksums, licences, protocols."""
    return ended(lambda: commands.audit(ROOT))


@deployed("contamination")
def contamination(a: str = "data/13_sft_data", b: str = "data/01_final", ngram: int = 8) -> State:
    """What one set of texts has of another, as `r1 contamination` does.

    Args:
        a: Rows to check: a file, folder or glob, from the root of the checkout.
        b: Items that A must not have, such as an evaluation set.
        ngram: Tokens of an n-gram.
    """
    return ended(lambda: commands.contamination(ROOT, a, b, ngram))


def here() -> str:
    """`<flow run id>/<task run id>`, under which the stages of this task show themselves."""
    this = TaskRunContext.get().task_run
    return f"{FlowRunContext.get().flow_run.id if FlowRunContext.get() else this.flow_run_id}/{this.id}"


def ended(work: Callable[[], int]) -> State:
    """How the run ended, as Prefect's state: what is wrong with a request is one message, not a traceback."""
    tracking.prepare()
    try:
        status = work()
    except ParamsError as exc:
        print(exc)
        return Failed(message=str(exc))
    if status:
        return Failed(message=f"exit status {int(status)}: the log and the runs below say why")
    return Completed(message="done")


DEPLOYMENTS = {
    "whole pipeline": pipeline,
    "one stage": stage,
    "another recipe": recipe,
    "experiment": run_experiment,
    "audit": audit,
    "contamination": contamination,
}


def deployments() -> list:
    """One deployment for each flow, by the module's path: a run imports this module anew."""
    from prefect.types.entrypoint import EntrypointType

    kind = EntrypointType.MODULE_PATH
    return [f.to_deployment(name=name, entrypoint_type=kind, tags=["r1"]) for name, f in DEPLOYMENTS.items()]
