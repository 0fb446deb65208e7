"""What can be triggered from the UI: the pipeline, one stage, another recipe, an experiment, the books, a comparison.

Prefect derives each form from the parameters below, so stages and recipes are Literals of what dvc.yaml, params.yaml
and recipes/ hold, read when this module is imported; the runner (`main`) registers them again when those files change.
Every deployment does what a command does, never less: `r1 run`, `dvc repro --single-item`, `r1 run --recipe`,
`dvc exp run`, `r1 audit`, `r1 contamination`.
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Literal

from prefect import flow
from prefect.states import Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows.orchestration import pipeline as stages
from flows.orchestration.dag import load_dag
from flows.orchestration.params import ParamsError, find_root, read_yaml
from flows.orchestration.recipe import put_in_force

ROOT = find_root()
WATCHED = ("dvc.yaml", "params.yaml", "recipes")
SETTINGS = {"log_prints": True, "persist_result": False, "validate_parameters": True}


def stage_names(root: Path) -> tuple[str, ...]:
    """The stages of the recipe in force, in the order in which they can run."""
    return tuple(load_dag(root).nodes)


Stage = Literal[stage_names(ROOT)]
Recipe = Literal[tuple(sorted(p.stem for p in (ROOT / "recipes").glob("*.yaml")))]
Targets = Annotated[list[Stage], Field([], description="Stages to bring up to date; none: all of them.")]
Downstream = Annotated[
    bool, Field(False, description="The targets and all that depends on them, instead of all they need.")
]
Force = Annotated[bool, Field(False, description="Run the targets even where nothing changed; they keep their inputs.")]


@flow(
    name="pipeline",
    flow_run_name=lambda: "pipeline",
    task_runner=ThreadPoolTaskRunner(max_workers=64),
    **SETTINGS,
)
def pipeline(targets: Targets = [], downstream: Downstream = False, force: Force = False) -> State:  # noqa: B006
    """Bring the recipe up to date: every stale stage, independent ones side by side, as `r1 run` does."""
    return _ended(lambda: stages.run(ROOT, list(targets), force=force, downstream=downstream))


def _ended(work) -> State:
    try:
        status = work()
    except ParamsError as exc:
        print(exc)
        return Failed(message=str(exc))
    if status:
        return Failed(message=f"exit status {status}: the log and the stages below say why")
    return Completed(message="everything asked for is up to date")


def deployments() -> list:
    from prefect.types.entrypoint import EntrypointType

    made = []
    for f, name in ((pipeline, "whole pipeline"),):
        d = f.to_deployment(name=name, entrypoint_type=EntrypointType.MODULE_PATH, tags=["r1"], description=f.__doc__)
        made.append(d)
    return made


def main() -> int:
    import asyncio

    from prefect.runner import Runner

    runner = Runner(name="r1", query_seconds=2, limit=None, pause_on_shutdown=False)
    for d in deployments():
        runner.add_deployment(d)
    (ROOT / ".prefect" / "registered").write_text(f"{os.getpid()}\n")
    asyncio.run(runner.start())
    return 0


if __name__ == "__main__":
    sys.exit(main())
