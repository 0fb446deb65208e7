"""`r1 run`, `r1 use`, `r1 status`: bring the DAG up to date, put a recipe in force, see what is stale."""

from typing import Annotated

import typer

from flows.orchestration.root import find_root

RECIPE = "Name of a recipe in recipes/, or the path of one of your own."


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("use")(use)
    app.command("status")(status)


def run(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages, e.g. `r1_zero distill@qwen`; none: all.", show_default=False)
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help=f"Put this recipe in force first. {RECIPE}", show_default=False)
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, envvar="R1_JOBS", help="Stages side by side; default: cores / threads.", show_default=False
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run the targets even where nothing changed; they keep their inputs.")
    ] = False,
    downstream: Annotated[
        bool, typer.Option("--downstream", help="The targets and all that depends on them, instead of all they need.")
    ] = False,
    ignore_disk: Annotated[
        bool, typer.Option("--ignore-disk", help="Run even where the disk will not hold what `r1 plan` says is needed.")
    ] = False,
) -> None:
    """Bring the recipe up to date: every stale stage, independent ones side by side.

    Finished stages stay; an interrupted one resumes. With PREFECT_API_URL set, the run appears in Prefect's UI.
    """
    from flows.orchestration import pipeline, tracking

    root = find_root()
    if recipe:
        _use(root, recipe, force=False)
    tracking.leave(pipeline.run(root, targets or [], jobs, force, downstream, ignore_disk))


def use(
    recipe: Annotated[str, typer.Argument(help=RECIPE, show_default=False)],
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace edits of params.yaml that are in no recipe; they stay in params.yaml.bak."
        ),
    ] = False,
) -> None:
    """Put a recipe in force: check it and copy it to params.yaml."""
    _use(find_root(), recipe, force)


def _use(root, recipe: str, force: bool) -> None:
    from flows.orchestration import in_force
    from flows.orchestration.recipe import put_in_force

    with in_force.changing(root):
        changes = put_in_force(root, recipe, force)
    print(f"{recipe} is in force" + (f", {len(changes)} values changed:" if changes else "; no value changed"))
    for change in changes:
        print(f"  {change}")


def status(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages; none: all.", show_default=False)] = None,
) -> None:
    """List the stages that `r1 run` would visit, without running anything."""
    from flows.orchestration import pipeline
    from flows.orchestration.dag import load_dag

    root = find_root()
    dag = load_dag(root)
    selected = dag.select(targets or [])
    changed = pipeline.stale(root, selected)
    todo = pipeline.with_downstream(dag, changed, selected)
    for stage in selected:
        if stage in todo:
            print(f"{stage:28} {'changed' if stage in changed else 'waits for what is before it'}")
    print(f"{len(selected) - len(todo)} of {len(selected)} stages are up to date")
