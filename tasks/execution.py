"""Where batches and shards are worked on: in this process, in a pool of processes, or on a Ray cluster.

    with open_execution("ray", threads=1) as execution:
        for path in execution.map(process_shard, shards, scans, folders): ...

What is mapped is a function of a module, and its arguments are small: paths, numbers, settings. It reads its input
from a file and writes its result under a name of its own by rename, so it may run twice (a node dies) and nothing is
lost or doubled. Results come in the order of the arguments, and no result depends on where it was made.

On Ray every node sees the checkout and the work folders under the same paths (a shared file system) and has the same
locked environment; a node that differs is named and refused. The cluster is $RAY_ADDRESS; without it, Ray is started
on this machine for as long as the work takes. Sources: docs.ray.io, ray 2.60 `ray.init`, `ray.data.Dataset.map`.
"""

import contextlib
import functools
import hashlib
import importlib
import logging
import os
import pickle
import platform
import queue
import select
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, Self

ROOT = Path(__file__).resolve().parents[1]
RETRIES = 10  # of a task whose worker or node died; what the task itself raises is never tried again
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


class ExecutionError(Exception):
    """Work could not be handed out or was lost for good; the message names what, where and the remedy."""


class Execution(Protocol):
    """A map over jobs. Use it as a context manager: leaving it ends the processes, or the connection."""

    name: str  # "local" or "ray"
    remote: bool  # whether jobs may run on other machines: then they are laid out as files in a shared folder
    threads: int  # of one job
    gpus: int  # GPUs that jobs may take

    def map(self, function: Callable, *columns: Sequence, gpu: bool = False) -> Iterator[Any]:
        """function(*job) for each job of zip(*columns), in order; `gpu`: each takes one where there are any.

        What a job raises is raised here. ExecutionError where its process is killed for good.
        """
        ...

    def rest(self) -> None:
        """End idle processes of this machine and leave their memory to others; the next call starts new ones."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...


def open_execution(
    name: str,
    threads: int = 1,
    environment: Mapping[str, str] | None = None,
    workers: int | None = None,
    folder: Path | None = None,
) -> Execution:
    """`execution:` of params.yaml, `local` or `ray`.

    threads: of one job. environment: variables that must be set before a worker starts. workers: processes of `local`
    (default: `threads`); one is the calling process itself. folder: what relative paths of jobs are relative to, on a
    node of Ray; None: they are all absolute. Nothing is started before the first `map`.
    """
    return Local(workers or threads, threads) if name == "local" else Ray(threads, environment or {}, folder)


class Local:
    """Processes of this machine that die with their parent; one worker is the calling process itself."""

    name, remote = "local", False

    def __init__(self, workers: int = 1, threads: int = 1):
        self.workers, self.threads = workers, threads
        self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.rest()

    @property
    def gpus(self) -> int:
        import torch

        return torch.cuda.device_count()

    def rest(self) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, function: Callable, *columns: Sequence, gpu: bool = False) -> Iterator[Any]:
        jobs = list(zip(*columns, strict=True))
        if self.workers == 1 or len(jobs) < 2:
            for job in jobs:
                yield function(*job)
            return
        yield from self._parallel(function, jobs)

    def _parallel(self, function: Callable, jobs: list[tuple]) -> Iterator[Any]:
        from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        running, ready, following, given = {}, {}, 0, 0
        self._pool = self._pool or ProcessPoolExecutor(
            self.workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
        )
        try:
            while given < len(jobs) or running:
                while given < len(jobs) and len(running) < 2 * self.workers:
                    running[self._pool.submit(function, *jobs[given])] = given
                    given += 1
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number = running.pop(future)
                    ready[number] = future.result()
                while following in ready:
                    yield ready.pop(following)
                    following += 1
        except BrokenProcessPool:
            self.rest()
            raise ExecutionError(
                "a worker process was killed, most likely for want of memory: run again with fewer --threads; "
                "finished shards are kept"
            ) from None
        finally:
            for future in running:
                future.cancel()


def _begin(parent: int) -> None:
    """In a new worker: one thread for every library, interrupts are the parent's, and no life without it."""
    import pyarrow as pa

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pa.set_cpu_count(1)
    try:
        handle = os.pidfd_open(parent)
    except ProcessLookupError:
        os._exit(1)

    def watch() -> None:
        select.select([handle], [], [])
        os._exit(1)

    threading.Thread(target=watch, name="die with parent", daemon=True).start()


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

        A thread reads them, so that this one can ask now and then whether the cluster can work at all. What still runs
        when a job fails is cancelled; when the caller leaves, once the next result is there or the connection ends.
        """
        need = {"CPU": float(self.threads)}
        if gpu and self.gpus:
            need["GPU"] = 1.0
        _room(ray, need)
        data = _ray_data()
        work = functools.partial(_row, ground(), self.folder, function.__module__, function.__qualname__)
        rows = data.from_items([{"job": pickle.dumps(job)} for job in jobs], override_num_blocks=len(jobs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of `max_retries`; by default it tries for ever
            made = rows.map(work, num_cpus=need["CPU"], num_gpus=need.get("GPU"), max_retries=RETRIES)
        results: queue.Queue = queue.Queue(maxsize=1)
        left = threading.Event()

        def read() -> None:
            try:
                for row in made.iter_rows():
                    results.put(row["result"])
                    if left.is_set():
                        return
            except Exception as error:
                results.put(error)

        threading.Thread(target=read, name="results of Ray", daemon=True).start()
        try:
            for _ in jobs:
                yield pickle.loads(_next(ray, results, need))
        finally:
            left.set()
            with contextlib.suppress(queue.Empty):
                results.get_nowait()


def _next(ray, results: queue.Queue, need: dict[str, float]) -> bytes:
    """The next result, or what kept it from coming, as an error that says what to do about it."""
    while True:
        try:
            got = results.get(timeout=PATIENCE)
        except queue.Empty:
            _room(ray, need)
        else:
            if isinstance(got, Exception):
                raise _reason(ray, got) from None
            return got


def _ray_data():
    """Ray Data, set for jobs of any length that give a path each: in order and in silence."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # a failure is raised, and told where it is caught
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.execution_no_progress_timeout_s = -1  # seconds; never: a batch may take an hour
    context.raise_original_map_exception = True
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


def _reason(ray, error: Exception) -> Exception:
    """What a job raised on a node; ExecutionError where it could not be begun there, or its process was lost for good."""
    if isinstance(error, ray.exceptions.RayTaskError):
        if "failed to import on the worker" in str(error) or "No module named 'tasks" in str(error):
            return ExecutionError(
                f"a node of the Ray cluster cannot import the code of {ROOT}: every node must see this checkout under "
                "the same path and have its environment"
            )
        return error.cause if isinstance(error.cause, Exception) else ExecutionError(_last_line(error))
    if isinstance(error, ray.exceptions.RayError):
        return ExecutionError(
            f"a task was lost on the Ray cluster {RETRIES + 1} times ({_first_line(error)}), most likely for want of "
            "memory: give nodes fewer CPUs (`ray start --num-cpus`) or more memory; what is finished is kept"
        )
    return error


def _row(here: dict[str, str], folder: Path | None, module: str, name: str, row: dict[str, bytes]) -> dict[str, bytes]:
    return {"result": pickle.dumps(_call(here, folder, module, name, *pickle.loads(row["job"])))}


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


def unique(path: Path) -> Path:
    """A temporary name beside `path` that no other process on any machine takes; rename it when it is whole."""
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}.new")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
