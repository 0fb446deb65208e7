"""The pipeline as one Prefect flow run: a task for every stage that is not fresh, each stage's own run below its task.

Scheduling stays with the pipeline; Prefect only shows it. When the server goes away the rest runs without it, and the
process ends as soon as its work has: Prefect itself would go on asking for minutes.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from flows.orchestration import tracking
from flows.orchestration.child import FAILED, GOOD

if TYPE_CHECKING:
    from flows.orchestration.pipeline import Pipeline

UNBEGUN = 10.0  # seconds after which a task that Prefect has not begun is asked about


def run_tracked(pipeline: "Pipeline", conclude: Callable[[], int]) -> int:
    """`pipeline.execute`, then `conclude`, inside a Prefect flow run; the exit status."""
    tracking.prepare()
    status: int | None = None

    def r1():
        nonlocal status
        tasks = _Tasks(pipeline)
        pipeline.execute(tasks.launch, tasks.lost)
        status = conclude()
        if tasks.server_is_gone() or tracking.server() is None:
            pipeline.children.stop()
            tracking.leave_now(status)
        tracking.leave_later(status)
        return _summary(pipeline)

    try:
        from prefect import flow
        from prefect.context import FlowRunContext
        from prefect.task_runners import ThreadPoolTaskRunner

        if FlowRunContext.get():  # triggered from the UI: that run is the pipeline's, its tasks are the stages
            r1()
            return status
        runner = ThreadPoolTaskRunner(max_workers=64)
        flow(name="r1", task_runner=runner, validate_parameters=False, persist_result=False)(r1)(return_state=True)
    except Exception as exc:
        print(f"Prefect could not follow the run ({exc!r})", flush=True)
    if status is None:  # the flow never came to its end; what is done is done, the rest is still to do
        pipeline.execute(pipeline.launch)
        status = conclude()
    return status


class _Tasks:
    """Stages as Prefect tasks; the edges of the DAG are drawn by `wait_for` on tasks that have ended already."""

    def __init__(self, pipeline: "Pipeline"):
        self.pipeline = pipeline
        self.futures: dict = {}
        self.begun: set[str] = set()
        self.asked: dict[str, float] = {}
        self._gone = False

    def server_is_gone(self) -> bool:
        self._gone = self._gone or tracking.server() is None
        return self._gone

    def launch(self, stage: str) -> None:
        if self.server_is_gone():
            self.begun.add(stage)
            self.pipeline.launch(stage)
            return
        from prefect import task

        node = self.pipeline.dag[stage]
        before = [self.futures[u] for u in self.pipeline.dag.upstream[stage] if u in self.futures]
        # No tags: each would make Prefect ask the server for a concurrency slot before the task begins.
        tracked = task(name=node.name, task_run_name=stage, description=node.desc, persist_result=False)(self._build)
        self.asked[stage] = time.monotonic()
        self.futures[stage] = tracked.submit(stage, wait_for=before)

    def _build(self, stage: str):
        from prefect.context import TaskRunContext
        from prefect.states import Completed, Failed

        if stage in self.begun:
            return Completed(name="TakenOver", message="the pipeline ran it itself")
        self.begun.add(stage)
        this = TaskRunContext.get().task_run
        outcome = self.pipeline.work(stage, f"{this.flow_run_id}/{this.id}")
        if outcome.state not in GOOD:
            return Failed(name=outcome.state, message=outcome.message)
        return Completed(name=outcome.state, message=f"in {outcome.seconds:.0f} s")

    def lost(self) -> list[str]:
        """Launched stages that Prefect has dropped or cannot begin: from now on the caller's."""
        late = [s for s in self.pipeline.running if s not in self.begun and time.monotonic() - self.asked[s] > UNBEGUN]
        if late and not self.server_is_gone():
            late = [s for s in late if time.monotonic() - self.asked[s] > 6 * UNBEGUN]
        self.begun.update(late)
        return late


def _summary(pipeline: "Pipeline"):
    from prefect.artifacts import create_markdown_artifact, create_table_artifact
    from prefect.states import Completed, Failed

    rows = [{"stage": s, "state": o.state, "seconds": round(o.seconds, 1)} for s, o in pipeline.outcomes.items()]
    create_table_artifact(rows, key="r1-stages", description="how each stage ended")
    ids = {stage: f"s{i}" for i, stage in enumerate(pipeline.selected)}
    edges = [f"{ids[u]}[{u}] --> {ids[s]}[{s}]" for s in ids for u in pipeline.dag.upstream[s] if u in ids]
    create_markdown_artifact(
        "```mermaid\nflowchart LR\n" + "\n".join(edges) + "\n```\n", key="r1-dag", description="the DAG"
    )
    bad = [s for s, o in pipeline.outcomes.items() if o.state == FAILED]
    return Failed(message=f"failed: {', '.join(bad)}") if bad else Completed(message=f"{len(rows)} stages visited")
