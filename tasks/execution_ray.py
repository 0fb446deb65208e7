"""`execution: ray`: the jobs of tasks/execution.py on a Ray cluster, by Ray Data, a row of its set for each.

On Ray every node sees the checkout and the work folders under the same paths (a shared file system) and has the same
locked environment; a node that differs is named and refused. The cluster is $RAY_ADDRESS; without it, Ray is started
on this machine for as long as the work takes. Sources: docs.ray.io, ray 2.60 `ray.init`, `ray.data.Dataset.map`.
"""

import contextlib
import copy
import functools
import hashlib
import importlib
import logging
import os
import platform
import queue
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from tasks.execution import ExecutionError

ROOT = Path(__file__).resolve().parents[1]
RETRIES = 10  # of a job whose worker or node died; what the job itself raises is never tried again
LEAVING = 5.0  # seconds that who leaves waits for the thread that reads the results
PATIENCE = 30.0  # seconds without a result after which the cluster is asked whether it can work at all
STORE = 128 << 20  # bytes of Ray's object store on this machine: results are paths
BLOCK = 1 << 20  # bytes that Ray Data reckons with for a result, 128 MiB by default: too many for such a store
LIBRARIES = (  # that decide bytes
    "torch", "transformers", "tokenizers", "numpy", "pyarrow", "numba", "sympy", "math-verify", "reasoning-gym",
)  # fmt: skip


QUIET_AND_PATIENT = {  # read when the library is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else a thread that still waits for a result starts a Ray of its own at the end
    "RAY_raylet_start_wait_time_s": "180",  # a node has 30 s to start: too little on a busy machine
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_worker_register_timeout_seconds": "180",
    "RAY_gcs_server_request_timeout_seconds": "180",
    "RAY_worker_niceness": "0",  # 15 by default: on a machine that does anything else, workers hardly get a core
}


class Ray:
    """Ray Data on a cluster, as many jobs side by side as it has room for; one whose node dies runs on another one."""

    name, remote = "ray", True

    def __init__(self, threads: int = 1, environment: Mapping[str, str] = {}, folder: Path | None = None):
        self.threads, self.environment, self.folder = threads, dict(environment), folder
        self._ray = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._ray:
            self._ray.shutdown()
            self._ray = None

    @property
    def gpus(self) -> int:
        return int(self._connected().cluster_resources().get("GPU", 0))

    def rest(self) -> None:
        """Ray ends idle workers itself."""

    def map(self, function: Callable, *columns: Sequence, gpu: bool = False) -> Iterator[Any]:
        jobs = list(zip(*columns, strict=True))
        if jobs:
            yield from self._rows(self._connected(), function, jobs, gpu)

    def _connected(self):
        """The library, connected; ExecutionError with the remedy where it is missing or nobody answers."""
        if self._ray:
            return self._ray
        for name, value in QUIET_AND_PATIENT.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError:
            raise ExecutionError(
                "execution: ray needs the extra `ray`: `.venv/bin/pip install --editable '.[ray]'` on every node, "
                "or set execution: local in params.yaml"
            ) from None
        address = os.environ.get("RAY_ADDRESS") or "local"
        cpus = len(os.sched_getaffinity(0))
        mine = {"num_cpus": max(cpus, self.threads), "object_store_memory": STORE} if address == "local" else {}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            _answers(address)
            ray.init(
                address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
                namespace="r1flow", runtime_env={"env_vars": self.environment | {"PYTHONPATH": path}}, **mine,
            )  # fmt: skip
        except Exception as error:
            raise ExecutionError(
                f"no Ray cluster answers at RAY_ADDRESS={address} ({_first_line(error)}). Start one with `ray start "
                "--head --disable-usage-stats --include-dashboard=false` and `ray start --address=HOST:6379` on the "
                "other nodes; if there is one, it may ask for a token: set RAY_AUTH_MODE=token on every node and here "
                "(docs/scale.md, Ray). Or set execution: local in params.yaml"
            ) from None
        self._ray = ray
        return ray

    def _rows(self, ray, function: Callable, jobs: list[tuple], gpu: bool) -> Iterator[Any]:
        """The jobs as rows of a Ray Data set, one to a block and so one to a task.

        A thread reads them, so that this one can ask now and then whether the cluster can work at all. When a job fails
        or the caller leaves, what still runs is cancelled once the next result is there, or the connection ends.
        """
        need = {"CPU": float(self.threads)}
        if gpu and self.gpus:
            need["GPU"] = 1.0
        _room(ray, need)
        data = _ray_data()
        work = functools.partial(_row, ground(), self.folder, function.__module__, function.__qualname__)
        rows = data.from_items([{"job": _Whole(job)} for job in jobs], override_num_blocks=len(jobs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of `max_retries`; by default it tries for ever
            made = rows.map(work, num_cpus=need["CPU"], num_gpus=need.get("GPU"), max_retries=RETRIES)
        results: queue.Queue = queue.Queue(maxsize=1)
        left = threading.Event()
        reader = threading.Thread(target=_read, args=(made, results, left), name="results of Ray", daemon=True)
        reader.start()
        try:
            for _ in jobs:
                fine, result = _next(ray, results, need)
                if not fine:
                    raise result
                yield result
        finally:
            left.set()
            with contextlib.suppress(queue.Empty):
                results.get_nowait()
            reader.join(LEAVING)


def _read(made, results: queue.Queue, left: threading.Event) -> None:
    """Every result as it comes, in order, until there is none or the caller has left; then how that came about."""
    end: BaseException = ExecutionError("Ray Data ended before all jobs were done; what is finished is kept")
    try:
        for batch in made.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            for result in batch["result"]:
                results.put(result.value)
                if left.is_set():
                    return
    except BaseException as error:
        end = error
    if not left.is_set():
        results.put(end)


def _next(ray, results: queue.Queue, need: dict[str, float]) -> tuple[bool, Any]:
    """What came of the next job, or what kept it from coming, as an error that says what to do about it."""
    while True:
        try:
            got = results.get(timeout=PATIENCE)
        except queue.Empty:
            _room(ray, need)
        else:
            if isinstance(got, BaseException):
                raise _reason(ray, got) from None
            return got


def _ray_data():
    """Ray Data, set for jobs of any length that give a path each: in order and in silence."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # a failure is raised, and told where it is caught
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.execution_no_progress_timeout_s = -1  # seconds; never: a batch may take an hour
    context.target_max_block_size = BLOCK
    context.enable_progress_bars = context.print_on_execution_start = False
    return ray.data


def _answers(address: str) -> None:
    """OSError where nobody listens at host:port; Ray itself would knock for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10.0).close()


def _room(ray, need: dict[str, float]) -> None:
    """ExecutionError where no living node can hold one task: it would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= count for name, count in need.items()) for node in nodes):
        wanted = " and ".join(f"{count:g} {name}" for name, count in need.items())
        there = "; ".join(f"{n.get('CPU', 0):g} CPU, {n.get('GPU', 0):g} GPU" for n in nodes) or "none"
        raise ExecutionError(
            f"no node of the Ray cluster can hold a task that needs {wanted} (living nodes: {there}): start one that "
            "can, or lower `threads`; what is finished is kept"
        )


def _reason(ray, error: BaseException) -> BaseException:
    """ExecutionError with the remedy where a job could not be begun on a node, or its process was lost for good."""
    if isinstance(error, ray.exceptions.RayTaskError):
        if "failed to import on the worker" in str(error) or "No module named 'tasks" in str(error):
            return ExecutionError(
                f"a node of the Ray cluster cannot import the code of {ROOT}: every node must see this checkout under "
                "the same path and have its environment"
            )
        return ExecutionError(_last_line(error))
    if isinstance(error, ray.exceptions.RayError):
        return ExecutionError(
            f"a task was lost on the Ray cluster {RETRIES + 1} times ({_first_line(error)}), most likely for want of "
            "memory: give nodes fewer CPUs (`ray start --num-cpus`) or more memory; what is finished is kept"
        )
    return error


@dataclass(frozen=True)
class _Whole:
    """In a row of Ray Data, what it shall neither look into nor make Arrow's."""

    value: Any


def _row(here: dict[str, str], folder: Path | None, module: str, name: str, row: dict) -> dict:
    """A job and what came of it, (True, its result) or (False, what it raised): Ray Data adds words to an error."""
    try:
        return {"result": _Whole((True, _call(here, folder, module, name, *row["job"].value)))}
    except Exception as error:
        try:
            copy.copy(error)
        except Exception:  # nor could it be made anew where it is read: its class has arguments of its own
            error = ExecutionError(f"{type(error).__name__}: {error}")
        return {"result": _Whole((False, error))}


def _call(here: dict[str, str], folder: Path | None, module: str, name: str, *job) -> Any:
    """On a node: one job, after a look at whether its result can be the same as at home."""
    there = ground()
    if differing := [key for key in here if here[key] != there.get(key)]:
        what = ", ".join(f"{key} is {there.get(key)} there and {here[key]} here" for key in differing)
        raise ExecutionError(
            f"node {socket.gethostname()} would not give the same bytes: {what}; install requirements.lock and check "
            f"out the same commit on every node (it imports {ROOT} with {sys.executable})"
        )
    try:
        if folder:
            os.chdir(folder)
    except OSError as error:
        raise ExecutionError(
            f"node {socket.gethostname()} does not see {folder} ({error.strerror}): nodes of a Ray cluster need the "
            "checkout and its work folder on a shared file system, under the same path"
        ) from None
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))(*job)


@functools.cache
def ground() -> dict[str, str]:
    """What must be the same on two machines for the same bytes: Python, the libraries that compute, and our code."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    digest = hashlib.sha256()
    for path in sorted((ROOT / "tasks").rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found | {"code": digest.hexdigest()[:12]}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
