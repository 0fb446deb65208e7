"""The pipeline as one Prefect flow run: a task for every stage that is not fresh, each stage's own run below its task."""

import time

from flows.orchestration import tracking
from flows.orchestration.pipeline import Pipeline

UNBEGUN = 60.0  # seconds after which a task that Prefect has not begun is run without it


class StageFailed(Exception):
    """For Prefect's book only: the pipeline itself goes by the outcome."""


def run_tracked(pipeline: Pipeline) -> None:
    """`pipeline.execute` under Prefect; if the server goes away, the rest runs without it."""
    from prefect import flow
    from prefect.task_runners import ThreadPoolTaskRunner

    finished = False

    @flow(name="r1", task_runner=ThreadPoolTaskRunner(max_workers=64), validate_parameters=False, retries=0)
    def r1():
        nonlocal finished
        tasks = _Tasks(pipeline)
        pipeline.execute(tasks.launch, tasks.lost)
        finished = True
        bad = [s for s, o in pipeline.outcomes.items() if o.how == "failed"]
        tracking.leave_at_exit()
        _summary(pipeline)
        if bad:
            raise StageFailed(f"failed: {', '.join(bad)}")

    try:
        r1()
    except Exception as exc:
        if isinstance(exc, StageFailed):
            return
        if not finished and not pipeline.outcomes and not pipeline.running:
            print(f"Prefect could not start a run ({exc!r}): running without it", flush=True)
            pipeline.execute(pipeline.launch)
        elif finished:
            print(f"Prefect could not record the end of the run: {exc!r}", flush=True)
        else:
            raise


class _Tasks:
    """Stages as Prefect tasks; the edges of the DAG are drawn by `wait_for` on tasks that have ended already."""

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline
        self.futures: dict = {}
        self.begun: set[str] = set()
        self.launched: dict[str, float] = {}

    def launch(self, stage: str) -> None:
        from prefect import task
        from prefect.context import TaskRunContext

        def build() -> str:
            if stage in self.begun:
                return "taken over"
            self.begun.add(stage)
            this = TaskRunContext.get().task_run
            outcome = self.pipeline.work(stage, f"{this.flow_run_id}/{this.id}")
            if outcome.how == "failed":
                raise StageFailed(outcome.message)
            return outcome.how

        node = self.pipeline.dag[stage]
        tags = [f"dvc:{stage}", *(["gpu"] if node.gpu else [])]
        before = [self.futures[u] for u in self.pipeline.dag.upstream[stage] if u in self.futures]
        self.launched[stage] = time.monotonic()
        tracked = task(name=node.name, task_run_name=stage, description=node.desc, tags=tags, persist_result=False)(build)
        try:
            self.futures[stage] = tracked.submit(wait_for=before)
        except Exception as exc:
            print(f"{stage}: Prefect did not take it ({exc!r}): running without it", flush=True)

    def lost(self) -> list[str]:
        """Launched stages that Prefect dropped, or has not begun for long: from now on the caller's."""
        late = []
        for stage in self.pipeline.running:
            if stage in self.begun:
                continue
            future, age = self.futures.get(stage), time.monotonic() - self.launched[stage]
            if future is None or future.state.is_final() or age > UNBEGUN:
                self.begun.add(stage)
                late.append(stage)
        return late


def _summary(pipeline: Pipeline) -> None:
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    rows = [{"stage": s, "how": o.how, "seconds": round(o.seconds, 1)} for s, o in pipeline.outcomes.items()]
    create_table_artifact(rows, key="r1-stages", description="how each stage ended")
    ids = {stage: f"s{i}" for i, stage in enumerate(pipeline.selected)}
    edges = [f"{ids[u]}[{u}] --> {ids[s]}[{s}]" for s in ids for u in pipeline.dag.upstream[s] if u in ids]
    create_markdown_artifact("```mermaid\nflowchart LR\n" + "\n".join(edges) + "\n```\n", key="r1-dag", description="the DAG")
