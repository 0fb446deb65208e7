"""A stage as a Prefect flow run where a server answers, as a plain call where none does.

The server is a window, never a dependency: whatever happens to it, finished work stays finished. R1_PARENT holds
`<flow run id>/<task run id>` of the pipeline, under which this stage's run then appears.
"""

import contextlib
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from flows.orchestration.stage import Run

PARENT = "R1_PARENT"
PATIENCE = 20.0  # seconds that a dead server may hold up the end of a finished process
HEALTH = 10.0  # seconds to say that it is up: a machine may be busy
PRIVATE = ("PREFECT__FLOW_RUN_ID", "PREFECT__FLOW_ENTRYPOINT", "PREFECT__CONTROL_PORT", "PREFECT__CONTROL_TOKEN")
_tracked = False
_unfinished = False  # a thread may still be in the middle of a stage's page


def server() -> str | None:
    """PREFECT_API_URL, if it answers; without one Prefect would start a server per stage."""
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return None
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=HEALTH) as answer:
            return url if answer.status == 200 else None
    except (OSError, ValueError, HTTPException):  # the last: it died in the middle of its answer
        print(f"PREFECT_API_URL is {url}, which does not answer: running without it", file=sys.stderr, flush=True)
        return None


def run(run: "Run", build: Callable[[], dict], parameters: dict | None = None) -> None:
    """Call `build`, under Prefect if there is a server; its exception passes through, Prefect's own do not.

    parameters: what the stage was declared to read of params.yaml, shown with its run.
    """
    if server() is None:
        build()
        return
    outcome: dict[str, Any] = {}

    def body(flow_run_id):
        global _unfinished
        from prefect.logging import get_run_logger

        from flows.orchestration.window import Lines, Window

        said = contextlib.redirect_stdout(Lines(get_run_logger().info, sys.stdout))
        try:
            with Window(run, flow_run_id) as window, said:
                outcome["metrics"] = build()
        except BaseException as exc:
            outcome["error"] = exc
            leave_later(1, f"[{run.stage}] failed: {type(exc).__name__}: {exc}")
            raise
        if server() is None:
            leave_now(0)
        leave_later(0)
        if not window.conclude():
            _unfinished = True
            run.log("published; Prefect is too slow for the rest of its page")

    try:
        _flow_run(run, body, parameters or {})
    except BaseException as exc:
        if "error" in outcome:
            raise outcome["error"] from None
        if not isinstance(exc, Exception):
            raise
        if "metrics" in outcome:
            run.log(f"published; Prefect could not record it: {exc!r}")
        else:  # it failed before the body began
            run.log(f"Prefect could not start a run ({exc!r}): running without it")
            build()


def _flow_run(run: "Run", body: Callable[[Any], None], parameters: dict) -> None:
    prepare()
    for name in PRIVATE:
        os.environ.pop(name, None)  # else this run would report as the pipeline's
    parent = os.environ.pop(PARENT, None)  # grandchildren must not hang themselves under it
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    def tracked():
        body(flow_run.id)

    staged = flow(name=run.name, description=run.node.desc, validate_parameters=False)(tracked)
    with get_client(sync_client=True) as client:
        link = _link(client, run.stage, *parent.split("/")) if parent else None
        tags = [f"dvc:{run.stage}", "via:pipeline" if parent else "via:dvc"]
        flow_run = client.create_flow_run(
            staged, name=run.stage, parameters=parameters, parent_task_run_id=link, tags=tags
        )
    flow_run.parameters = {}  # shown in the UI; the stage itself reads params.yaml
    run_flow(staged, flow_run=flow_run)


def _link(client: Any, stage: str, flow_run_id: str, task_run_id: str) -> Any:
    """What Prefect does for a subflow: a task run in the parent flow that stands for the child's flow run."""
    import uuid

    from prefect import Task
    from prefect.client.schemas.objects import TaskRunResult
    from prefect.states import Pending

    task = Task(name=f"run {stage}", fn=lambda: None)
    task.task_key = f"r1.stage.{stage}"
    inputs = {"__parents__": [TaskRunResult(id=uuid.UUID(task_run_id))]}
    made = client.create_task_run(
        task=task, flow_run_id=uuid.UUID(flow_run_id), dynamic_key=uuid.uuid4().hex, task_inputs=inputs, state=Pending()
    )
    return made.id


def leave_later(status: int, words: str = "", patience: float = PATIENCE) -> None:
    """End this process after `patience` seconds at the latest: Prefect keeps trying to reach a server that is gone."""

    def end():
        time.sleep(patience)
        if words:
            print(words, file=sys.stderr)
        leave_now(status)

    threading.Thread(target=end, daemon=True).start()


def leave_now(status: int) -> NoReturn:
    """End this process without the farewells that Prefect would send to a server that is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def prepare() -> None:
    """Settle Prefect before its first import, and have `leave` hurry from now on."""
    global _tracked
    _tracked = True
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    os.environ.setdefault("PREFECT_API_REQUEST_TIMEOUT", "10")  # seconds; of a server that no longer answers
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def leave(status: int) -> NoReturn:
    """End this process: at once, or after Prefect's farewells where it was told anything, within `PATIENCE`.

    Everything is published by now, and taking torch's modules apart takes two seconds of every stage.
    """
    if _unfinished or not _tracked:
        leave_now(status)
    leave_later(status)
    sys.exit(status)
