"""A job of a work pool, on the worker's side: a Prefect flow that builds one stage and sends it to the DVC remote.

Prefect's process worker (pool_worker.py) runs each job in a process of its own, which dies with it; so does the stage
with the job. Imported in that process alone: Prefect is imported at the top.
"""

import getpass
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, Self

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed, State

from flows.orchestration import guard, remote
from flows.orchestration.child import GOOD, Children
from flows.orchestration.dag import Node, load_dag
from flows.orchestration.params import ParamsError, read_yaml
from flows.orchestration.pool_checkout import checkout
from flows.orchestration.pools import FLOW, WORKER, Job, PoolError

BEAT = 2.0  # seconds between signs of life
OURS = ("didn't change, skipping", "is cached - skipping run", guard.BUSY)  # would mean something else in their log


@flow(name=FLOW, validate_parameters=False, persist_result=False, log_prints=True)
def build(job: dict) -> State:
    """Build the job's stage at the pipeline's commit; the flow that Prefect's process worker starts.

    Args:
        job: the fields of `pools.Job`. The result is in the run's artifact: see `_Report`.
    """
    guard.die_with_parent()
    job = Job.model_validate(job)
    say = get_run_logger().info
    report = _Report(job, say)
    try:
        with report, checkout(Path(os.environ[WORKER]), job) as root:
            say(f"{job.stage} for {job.asked_by}: commit {job.commit[:8]} in {root}")
            node = load_dag(root)[job.stage]
            remote.pull(root, job.inputs)
            _build(root, node, job, report)
            report.kept["entry"] = remote.send(root, job.stage)
            report.kept["book"] = _book(root, job.stage)
        return Completed(message=f"{job.stage} is on the DVC remote")
    except (PoolError, ParamsError, remote.RemoteError) as exc:
        return Failed(message=str(exc))


def _build(root: Path, node: Node, job: Job, report: "_Report") -> None:
    """`dvc repro` of the stage; PoolError where it failed, with what it said."""
    threads = read_yaml(root / "params.yaml").get("threads", 1)
    children = Children(root, threads, [job.stage] if job.forced else [])
    report.follow(children.log(job.stage), lambda: children.progress(job.stage))
    try:
        outcome = children.run(node, job.parent)
    finally:
        children.stop()
    report.tell()
    if outcome.state not in GOOD:
        raise PoolError(outcome.message or outcome.state)


def _book(root: Path, stage: str) -> dict | None:
    try:
        return json.loads((root / "work" / "runs" / f"{stage}.json").read_text())
    except (OSError, ValueError):
        return None  # restored from this worker's own run cache: nothing was run


class _Report:
    """A job's log, and its one artifact: `beat` grows while it lives, `progress`, at the end `entry` and `book`."""

    def __init__(self, job: Job, say: Any):
        self.kept: dict[str, Any] = {"beat": 0, "host": os.uname().nodename, "user": getpass.getuser()}
        self._job, self._say = job, say
        self._log: Path | None = None
        self._progress: Any = dict
        self._read = 0
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._artifact: Any = None

    def follow(self, log: Path, progress: Any) -> None:
        """From now on pass on what is written to `log`, and what `progress()` returns."""
        self._log, self._progress = log, progress

    def tell(self) -> None:
        """The lines of the stage's log that have come since."""
        with self._lock:
            if self._log is None:
                return
            with open(self._log, "rb") as log:
                log.seek(self._read)
                new = log.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
        lines = whole.decode(errors="replace").splitlines()
        if told := [line for line in lines if line.strip() and not any(words in line for words in OURS)]:
            self._say("\n".join(told))

    def __enter__(self) -> Self:
        self._keep()
        threading.Thread(target=self._beat, name="signs of life", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._keep()

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            self.kept["beat"] += 1
            self.kept["progress"] = self._progress()
            self.tell()
            self._keep()

    def _keep(self) -> None:
        rows = [{"what": what, "value": json.dumps(value)} for what, value in self.kept.items()]
        if self._artifact is None:
            key = "pool-" + "".join(c if c.isalnum() else "-" for c in self._job.stage.lower())
            self._artifact = create_table_artifact(rows, key=key, description=f"{self._job.stage} on this worker")
            return
        try:
            with get_client(sync_client=True) as client:
                client.update_artifact(self._artifact, ArtifactUpdate(data=json.dumps(rows)))
        except Exception as exc:  # without a server the work goes on, unseen; the result is found on the DVC remote
            print(f"Prefect could not be told: {exc!r}", file=sys.stderr, flush=True)
