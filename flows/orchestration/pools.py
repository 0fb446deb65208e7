"""A stage that another machine builds: `meta: {prefect: {pool: gpu}}` in dvc.yaml sends it to a Prefect work pool.

The pipeline's side. The stage's inputs go to the DVC remote, a job to the pool; a worker (`r1 worker POOL`) checks out
the same commit, builds with `dvc repro` and sends the result to the remote; it is fetched into the run cache here, and
the `dvc repro` that follows here restores it. dvc.lock is only ever written by DVC.

A worker builds what is committed, so uncommitted code is refused; params.yaml, dvc.lock and the other small files under
git that the stage reads (metrics, annotations) travel with the job as they are in the working tree.
"""

import base64
import gzip
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from flows.orchestration import git, guard, remote, tracking
from flows.orchestration.dag import BUILT_ELSEWHERE, Dag, Node, load_dag
from flows.orchestration.params import ParamsError, find_root
from flows.orchestration.publish import write_atomically

FLOW = "pool"  # Prefect's name of the worker's flow; its deployments are named after the pools
WORKER = "R1_WORKER"  # set to its checkout in a worker, whose stages are built there
HERE = "R1_POOLS"  # `off`: build here what dvc.yaml would send away
ALWAYS = ("params.yaml", "dvc.lock")
NOT_CARRIED = ("dvc.yaml", ".dvc/config")  # with the code: these must be committed
LARGEST = 400_000  # bytes of carried files, compressed; Prefect's own limit for parameters is 524,288
POLL = 1.0  # seconds
LOST = 60.0  # seconds without a sign of life after which a job counts as lost; five times that while it starts
PATIENCE = 120.0  # seconds to wait for a pool that has no worker, or for a server that went away
T = TypeVar("T")
SENDINGS = 3  # how often a job is sent before a lost one counts as failed


_AWAY = (
    "the Prefect server went away ({}). The worker goes on, and what it makes goes to the DVC remote: run it again "
    "later, and it is fetched from there"
)


class PoolError(Exception):
    """The stage could not be built elsewhere; the message says why and what to do."""


class Job(BaseModel):
    """All that a worker needs to know, in one flow-run parameter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    commit: str  # 40 hex digits
    forced: bool
    inputs: list[str]  # outputs of other stages, by the DVC remote
    files: str  # path -> text, or null where the working tree has none: JSON, gzip, base64
    parent: str | None  # flow run / task run of the pipeline, under which the stage's own run appears
    asked_by: str  # user@host

    @property
    def carried(self) -> dict[str, str | None]:
        return json.loads(gzip.decompress(base64.b64decode(self.files)))


def elsewhere(node: Node, forced: bool = False) -> list[str] | None:
    """Command that has a worker of the stage's pool build it; None where it is to be built here.

    It is built here without a pool in dvc.yaml, without a Prefect server (PREFECT_API_URL), with R1_POOLS=off, and in
    a worker. The command ends with status 0 when this checkout's run cache holds the result.
    """
    at_home = os.environ.get(HERE) == "off" or WORKER in os.environ or not os.environ.get("PREFECT_API_URL")
    if not node.pool or at_home:
        return None
    return [sys.executable, "-m", "flows.orchestration.pools", node.stage, *(["--force"] if forced else [])]


def describe(root: Path, dag: Dag, node: Node, forced: bool = False, parent: str | None = None) -> Job:
    """The job of a stage; PoolError where what a worker would build is not what this checkout says."""
    commit = git.head(root)
    if commit is None or not (root / ".git").exists():
        raise PoolError(f"{root} is not the top of a git checkout with a commit: a worker builds commits")
    if changed := git.dirty(root, [*node.code, *NOT_CARRIED]):
        raise PoolError(
            f"{node.stage} cannot be sent to pool {node.pool}: {', '.join(changed)} differ"
            f"{'s' if len(changed) == 1 else ''} from commit {commit[:8]}, and a worker builds what is committed. "
            f"`git commit` it (and push it), or build here: {HERE}=off r1 run {node.stage}"
        )
    inputs, carried = _divide(root, dag, node)
    texts = {path: _text(root / path) for path in git.dirty(root, carried)}
    files = base64.b64encode(gzip.compress(json.dumps(texts).encode(), mtime=0)).decode()
    if len(files) > LARGEST:
        largest = max(texts, key=lambda p: len(texts[p] or ""))
        raise PoolError(
            f"{node.stage}: uncommitted files of {len(files):,} bytes are too much for a job (at most {LARGEST:,}); "
            f"commit {largest}, the largest"
        )
    who = f"{os.environ.get('USER') or os.getuid()}@{os.uname().nodename}"
    return Job(
        stage=node.stage, commit=commit, forced=forced, inputs=inputs, files=files, parent=parent, asked_by=who
    )  # fmt: skip


def _divide(root: Path, dag: Dag, node: Node) -> tuple[list[str], list[str]]:
    """Inputs that travel by the DVC remote (outputs of other stages), and paths that git knows of."""
    made = [out for up in dag.upstream[node.stage] for out in dag[up].outs]
    inputs, known = [], list(ALWAYS)
    for dep in node.deps:
        if dep in node.code:
            continue
        outs = [out for out in made if out == dep or out.startswith(f"{dep}/") or dep.startswith(f"{out}/")]
        inputs += outs
        if outs:
            continue
        if (root / dep).exists() and (dep.startswith("..") or git.git(root, "check-ignore", "-q", dep) is not None):
            raise PoolError(
                f"{node.stage} reads {dep}, which neither git nor a stage of dvc.yaml knows, so it cannot travel to "
                f"pool {node.pool}: put it under git, or build here: {HERE}=off r1 run {node.stage}"
            )
        known.append(dep)
    return sorted(set(inputs)), known


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


class Pool:
    """A Prefect work pool as the pipeline sees it: send a job, follow it to its end, whatever becomes of its worker."""

    def __init__(self, client: Any, name: str):
        self.client, self.name = client, name
        self.run: Any = None  # the flow run in progress
        self._heard = 0  # log lines already passed on
        self._waiting = False

    def build(self, job: Job, progress: Path | None) -> tuple[str | None, dict]:
        """Name of the run-cache entry and run book of what a worker built; sent again where a worker is lost.

        The name is None where the worker could not tell it to the server.
        """
        for sending in range(1, SENDINGS + 1):
            self._send(job)
            state, message = self._follow(progress)
            kept = self._ask(self._kept)
            if state == "COMPLETED":
                return kept.get("entry"), kept.get("book") or {}
            if state == "CANCELLED":
                raise PoolError("cancelled in Prefect")
            if state == "FAILED":
                raise PoolError(message or "the worker failed without saying why; its log is in Prefect")
            print(
                f"the worker of pool {self.name} is gone ({message}); sending {sending} of {SENDINGS} ended", flush=True
            )
        raise PoolError(f"{SENDINGS} workers of pool {self.name} were lost over it; look at the worker's own machine")

    def cancel(self, why: str = "the pipeline was stopped") -> None:
        """Take the job back where no worker has begun it, so that none begins it later; else have the worker stop."""
        from prefect.states import Cancelled, Cancelling

        now = self.run and self.client.read_flow_run(self.run.id).state
        if now and not now.is_final():
            state = Cancelled(message=why) if now.is_scheduled() else Cancelling(message=why)
            self.client.set_flow_run_state(self.run.id, state, force=True)

    def _send(self, job: Job) -> None:
        deployment = self._deployment()
        key = uuid.uuid4().hex  # a request that seemed to fail may have arrived: the second is then the same run
        self.run = self._ask(
            lambda: self.client.create_flow_run_from_deployment(
                deployment.id,
                parameters={"job": job.model_dump()},
                name=f"{job.stage} on {self.name}",
                tags=[f"dvc:{job.stage}", f"pool:{self.name}", "via:pool"],
                idempotency_key=key,
            )
        )
        self._heard = 0
        print(f"sent to work pool {self.name} as flow run {self.run.id}, commit {job.commit[:8]}", flush=True)

    def _ask(self, request: Callable[[], T]) -> T:
        """What the server answers; asked again while it is away or overloaded, for PATIENCE at most."""
        from prefect.exceptions import ObjectNotFound

        end = time.monotonic() + _seconds("R1_POOL_PATIENCE", PATIENCE)
        while True:
            try:
                return request()
            except ObjectNotFound:
                raise
            except Exception as exc:  # whatever Prefect's client raises
                if time.monotonic() > end:
                    raise PoolError(_AWAY.format(type(exc).__name__)) from None
                time.sleep(POLL)

    def _deployment(self) -> Any:
        """What `r1 worker` has registered; waits for the first one."""
        from prefect.exceptions import ObjectNotFound

        end = time.monotonic() + _seconds("R1_POOL_PATIENCE", PATIENCE)
        while True:
            try:
                return self._ask(lambda: self.client.read_deployment_by_name(f"{FLOW}/{self.name}"))
            except ObjectNotFound:
                self._wait_for_worker(end, "has never had a worker")

    def _wait_for_worker(self, end: float, why: str) -> None:
        remedy = f"start one with `r1 worker {self.name}` on the machine that shall build it"
        if time.monotonic() > end:
            self._ask(lambda: self.cancel(f"pool {self.name} {why}"))
            raise PoolError(f"pool {self.name} {why}: {remedy}, or build here: {HERE}=off r1 run")
        if not self._waiting:
            print(f"waiting: pool {self.name} {why}; {remedy}", flush=True)
        self._waiting = True
        time.sleep(POLL)

    def _follow(self, progress: Path | None) -> tuple[str, str]:
        """Pass on what the worker says until its run ends; the type of its last state and what it says."""
        patience, lost = _seconds("R1_POOL_PATIENCE", PATIENCE), _seconds("R1_POOL_LOST", LOST)
        alive, sign = time.monotonic(), ()
        while True:
            time.sleep(POLL)
            asked = time.monotonic()
            state, kept, online = self._ask(self._look)
            now = time.monotonic()
            if state.is_final():
                return state.type.value, state.message or ""
            waits = state.is_scheduled() and online and now  # in the queue of a worker that answers: a sign of life
            if sign != (sign := (state.type, kept.get("beat"), waits)) or now - asked > lost / 2:
                alive = now  # silence while the server itself was away says nothing
            if not online:
                self._wait_for_worker(alive + patience, "has no worker that answers")
            elif now - alive > (lost if state.is_running() else 5 * lost):
                return self._declare_lost(now - alive)
            if progress and kept.get("progress"):
                write_atomically(progress, json.dumps(kept["progress"]))

    def _look(self) -> tuple[Any, dict, bool]:
        """State of the run, what its job says of itself, and whether it has or can get a worker."""
        state = self.client.read_flow_run(self.run.id).state
        kept = self._kept()
        self._pass_on_logs()
        return state, kept, not state.is_scheduled() or self._online()

    def _declare_lost(self, seconds: float) -> tuple[str, str]:
        from prefect.states import Crashed

        message = f"no sign of life for {seconds:.0f} s"
        self._ask(lambda: self.client.set_flow_run_state(self.run.id, Crashed(message=message), force=True))
        return "CRASHED", message

    def _online(self) -> bool:
        workers = self.client.read_workers_for_work_pool(self.name)
        return any(w.status.value == "ONLINE" for w in workers)

    def _pass_on_logs(self) -> None:
        """The stage's own lines of the worker's log, in order, each once."""
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
        from prefect.client.schemas.sorting import LogSort

        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[self.run.id]))
        while True:
            lines = self.client.read_logs(wanted, limit=200, offset=self._heard, sort=LogSort.TIMESTAMP_ASC)
            for line in lines:
                if line.name == "prefect.flow_runs":
                    print(line.message, flush=True)
            self._heard += len(lines)
            if len(lines) < 200:
                return

    def _kept(self) -> dict:
        """What the job says of itself in its one artifact: `beat`, `progress`, and at the end `entry` and `book`."""
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        found = self.client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[self.run.id]))
        )
        return {row["what"]: json.loads(row["value"]) for a in found[:1] for row in json.loads(a.data)}


def _seconds(name: str, default: float) -> float:
    given = os.environ.get(name)
    try:
        return float(given) if given else default
    except ValueError:
        raise PoolError(f"{name} is {given!r}; expected seconds") from None


@contextmanager
def _client() -> Iterator[Any]:
    if tracking.server() is None:
        raise PoolError(
            f"no Prefect server answers at {os.environ.get('PREFECT_API_URL')}: start it with `make ui`, or build "
            f"here: {HERE}=off r1 run"
        )
    tracking.prepare()
    for name in tracking.PRIVATE:
        os.environ.pop(name, None)
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


def send(root: Path, stage: str, forced: bool) -> None:
    """Have a worker build the stage, or find that one already has, and fetch what it made into the run cache here."""
    dag = load_dag(root)
    node = dag[stage]
    job = describe(root, dag, node, forced, os.environ.get(tracking.PARENT))
    if not forced and remote.fetch(root, stage):
        print("on the DVC remote already: nothing to build", flush=True)
        return
    remote.push(root, job.inputs)
    progress = os.environ.get("R1_PROGRESS")
    with _client() as client:
        pool = Pool(client, node.pool)
        try:
            entry, book = pool.build(job, Path(progress) if progress else None)
        except BaseException as exc:
            if not isinstance(exc, PoolError):
                pool.cancel()
            raise
    if not remote.fetch(root, stage, entry):
        raise PoolError(
            "the worker says it is done, but the DVC remote has nothing of this stage: do both use the same?"
        )
    print(f"{stage}: {BUILT_ELSEWHERE} {node.pool}", flush=True)
    if forced:
        remote.forget(root, stage)
    if book:
        write_atomically(root / "work" / "runs" / f"{stage}.json", json.dumps(book, indent=1) + "\n")


def _terminated(*_: Any) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def main(stage: str, *options: str) -> int:
    guard.die_with_parent()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        send(find_root(), stage, "--force" in options)
    except (PoolError, remote.RemoteError, ParamsError) as exc:
        print(f"[{stage}] failed: {exc}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
