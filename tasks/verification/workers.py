"""Killable workers for verification that may run away: each job under limits of CPU time, wall time and memory.

A job is a dict that the `work` of a domain's module answers. `process` domains run in worker processes; `thread`
domains (code, which starts a jail of its own) on threads of this process. A job that hits a limit costs its own limit:
its worker is killed and replaced within milliseconds, while the other workers go on. Limits hold whichever thread asks,
since they are the worker's own timer and the asking side's clock.
"""

import atexit
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

STARTUP_SECONDS = 120.0  # of wall time, for the libraries' imports on a machine under load
NICENESS = 5  # of the workers for jobs that take long: a third of what one gets that does not
PATIENCE = 20  # times the wall limit, for a worker that waits for a core and not for anything else
THREADS_PER_CORE = 4  # for thread domains: a jail waits more than it computes
_ROOT = Path(__file__).resolve().parents[2]
_FAULTS = (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGFPE, -signal.SIGILL)
# One thread per library: thread pools would take most of the address space before any work. And no gmpy2.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "MPMATH_NOGMPY": "1", "SYMPY_GROUND_TYPES": "python",
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """Of one job, and of one worker."""

    cpu_seconds: float = 5.0  # a busy machine does not turn a verdict into a timeout
    tries: tuple[float, ...] = (0.01, 0.05, 0.25)  # CPU seconds of the tries before the one that has them all
    wall_seconds: float = 30.0  # for a job that sleeps
    memory: int = 3 << 30  # bytes of address space
    jobs: int = 500  # after which a worker is replaced: libraries cache and leak


class Nursery:
    """This process's handle on the process that forks the workers; started on first use, again where it died."""

    def __init__(self):
        self.lock = threading.Lock()
        self.process: subprocess.Popen | None = None
        self.control: socket.socket | None = None
        self.loaded: set[str] = set()
        self.stderr = None

    def worker(self, module: str, memory: int, niceness: int = 0) -> tuple[socket.socket, frozenset[str]]:
        """The socket of a new worker, and the domains whose libraries it has loaded."""
        ours, theirs = socket.socketpair()
        with self.lock, theirs:
            for _ in range(2):
                if self.process is None or self.process.poll() is not None:
                    self._start()
                try:
                    order = json.dumps({"module": module, "memory": memory, "niceness": niceness}).encode()
                    socket.send_fds(self.control, [order], [theirs.fileno()])
                    break
                except OSError:
                    self._stop()
            self.loaded.add(module)
            return ours, frozenset(self.loaded)

    def kill(self, pid: int) -> None:
        with self.lock, contextlib.suppress(OSError, AttributeError):
            self.control.send(json.dumps({"kill": pid}).encode())

    def last_words(self) -> str:
        if self.stderr is None:
            return ""
        self.stderr.seek(0)
        return self.stderr.read().decode(errors="replace")[-300:].strip()

    def _start(self) -> None:
        self._stop()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.stderr = tempfile.TemporaryFile()
        env = os.environ | _ENVIRONMENT
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), env.get("PYTHONPATH", "")]))
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tasks.verification.worker_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=self.stderr,
            )  # fmt: skip

    def _stop(self) -> None:
        if self.control:
            self.control.close()
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.stderr:
            self.stderr.close()
        self.process = self.control = self.stderr = None
        self.loaded.clear()

    def close(self) -> None:
        with self.lock:
            self._stop()


class Worker:
    """One worker process, forked on first use and again after a limit, a crash or `jobs` jobs."""

    def __init__(self, limits: Limits = Limits(), niceness: int = 0):
        self.limits, self.niceness = limits, niceness
        self.lock = threading.Lock()
        self.closed = False
        self.channel: socket.socket | None = None
        self.pid, self.done = 0, 0
        self.began = 0.0  # when the last job was handed over: starting a worker is not the job's time
        self.loaded: frozenset[str] = frozenset()
        self.buffer = b""

    def ask(self, module: str, job: dict, cpu_seconds: float | None = None) -> dict:
        """{"reply": the work's answer}, {"limit": which} where a limit fired, or {"error": what} where it failed.

        A worker that ends without either is replaced and asked once more: it may have been killed from outside.
        """
        with self.lock:
            for _ in range(2):
                reply = self._exchange(module, job, cpu_seconds or self.limits.cpu_seconds)
                if "reply" not in reply or self.done >= self.limits.jobs:
                    self._close()
                if "exit" not in reply:
                    return reply
                if self.closed:
                    return {"error": "the pool was closed"}
            if reply["exit"] in _FAULTS:
                return {"limit": f"a crash of the interpreter ({signal.Signals(-reply['exit']).name})"}
            return {"error": f"the verification worker ended twice, with exit code {reply['exit']}"}

    def close(self) -> None:
        """Ends the worker, also in the middle of a job."""
        self.closed = True
        if self.pid and self.lock.locked():
            nursery().kill(self.pid)
        with self.lock:
            self._close()

    def _exchange(self, module: str, job: dict, cpu_seconds: float) -> dict:
        if self.channel is not None and module not in self.loaded:
            self._close()
        if self.channel is None and (problem := self._start(module)):
            return {"error": problem}
        limits = self.limits
        request = {"module": module, "cpu_seconds": cpu_seconds, "job": job}
        self.done += 1
        self.began = time.monotonic()
        try:
            self.channel.settimeout(limits.wall_seconds)
            self.channel.sendall(json.dumps(request).encode() + b"\n")
            reply = self._line(limits.wall_seconds, PATIENCE)
        except TimeoutError:
            nursery().kill(self.pid)
            return {"limit": f"{limits.wall_seconds:g} s of wall time"}
        except OSError:
            return {"exit": None}
        if reply.get("exit") == -signal.SIGPROF:
            return {"limit": f"{cpu_seconds:g} s of CPU time", "spent": True}
        return reply

    def _start(self, module: str) -> str | None:
        """None, or why there is no worker."""
        try:
            self.channel, self.loaded = nursery().worker(module, self.limits.memory, self.niceness)
            self.buffer, self.done = b"", 0
            self.pid = self._line(STARTUP_SECONDS).get("pid", 0)
        except OSError as error:
            self._close()
            return f"no verification worker started: {error or type(error).__name__}"
        return None if self.pid else f"no verification worker started: {nursery().last_words() or 'it ended at once'}"

    def _line(self, seconds: float, patience: int = 0) -> dict:
        """The next message; {"exit": None} where the worker's nursery is gone too. Raises TimeoutError.

        `patience`: how often a worker that would run, if the machine let it, gets the same time again.
        """
        deadline = time.monotonic() + seconds
        while True:
            line, newline, rest = self.buffer.partition(b"\n")
            if newline:
                self.buffer = rest
                with contextlib.suppress(ValueError):  # half a reply, cut off by the end of the worker
                    return json.loads(line)
                continue
            self.channel.settimeout(max(1e-3, deadline - time.monotonic()))
            try:
                more = self.channel.recv(1 << 20)
            except TimeoutError:
                if not patience or not _runnable(self.pid):
                    raise
                patience, deadline = patience - 1, time.monotonic() + seconds
                continue
            if not more:
                return {"exit": None}
            self.buffer += more

    def _close(self) -> None:
        if self.channel is not None:
            self.channel.close()  # a worker at rest reads the end of its input and ends
        self.channel = None


class Pool:
    """Workers side by side. `submit` returns at once; its future's result is `Worker.ask`'s with the `seconds` it took.

    Jobs are begun in the order of submission. One that has used up the CPU time of a try starts over in the next lane,
    behind those that wait there. Each lane but the first has as many workers of its own, which give way to the others
    (`nice`). So a few that hang hold up neither those submitted with them nor those that come later. A domain whose
    jobs usually take longer than the first try says so in FIRST_SECONDS.
    """

    def __init__(self, processes: int | None = None, limits: Limits = Limits()):
        self.processes, self.limits = processes or cores(), limits
        self.crew: list[Worker] = []
        self.closed = False
        self.local = threading.local()
        tries = [seconds for seconds in limits.tries if seconds < limits.cpu_seconds]
        self.lanes = [  # workers' threads, and the CPU seconds of a job
            (ThreadPoolExecutor(self.processes, f"verify-{i}"), seconds)
            for i, seconds in enumerate([*tries, limits.cpu_seconds])
        ]
        self.on_threads = ThreadPoolExecutor(self.processes * THREADS_PER_CORE, "verify-thread")

    def submit(self, module: str, job: dict) -> Future:
        future: Future = Future()
        if getattr(importlib.import_module(module), "RUNS", "process") == "thread":
            self.on_threads.submit(self._run_on_thread, future, module, job)
        else:
            self._queue(0, future, module, job, 0.0)
        return future

    def _queue(self, lane: int, *job) -> None:
        self.lanes[lane][0].submit(self._run, lane, *job)

    def _run(self, lane: int, future: Future, module: str, job: dict, seconds: float) -> None:
        """One try, on the worker of this thread; `seconds`: what the earlier ones took."""
        if not self._begins(future):
            return
        worker = self._worker(NICENESS if lane else 0)
        worker.began = time.monotonic()
        limit = self.lanes[lane][1]
        try:
            limit = max(limit, getattr(importlib.import_module(module), "FIRST_SECONDS", 0.0))
            reply = worker.ask(module, job, min(limit, self.limits.cpu_seconds))
        except Exception as error:  # ours; the batch goes on
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        seconds += time.monotonic() - worker.began
        longer = [i for i, (_, more) in enumerate(self.lanes) if more > limit]
        if reply.pop("spent", False) and longer and not self.closed:
            self._queue(longer[0], future, module, job, seconds)
        else:
            future.set_result(reply | {"seconds": seconds})

    def _run_on_thread(self, future: Future, module: str, job: dict) -> None:
        if not self._begins(future):
            return
        start = time.monotonic()
        try:
            reply = {"reply": importlib.import_module(module).work(job)}
        except Exception as error:  # ours; the batch goes on
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        future.set_result(reply | {"seconds": time.monotonic() - start})

    def _begins(self, future: Future) -> bool:
        if self.closed and not future.running():
            future.cancel()
        if not future.running() and not future.set_running_or_notify_cancel():
            return False
        future.started = getattr(future, "started", time.monotonic())
        return True

    def _worker(self, niceness: int) -> Worker:
        if not hasattr(self.local, "worker"):
            self.local.worker = Worker(self.limits, niceness)
            self.crew.append(self.local.worker)
        return self.local.worker

    def close(self) -> None:
        """Ends the workers; jobs that have not begun are cancelled."""
        self.closed = True
        for worker in self.crew:
            worker.close()
        for executor in (*(threads for threads, _ in self.lanes), self.on_threads):
            executor.shutdown()


def _runnable(pid: int) -> bool:
    """Whether a process is running or waiting for a core or a disk, as against sleeping."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "RD"
    except OSError:
        return False


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_nursery = Nursery()
_pools: dict[tuple[int, Limits], Pool] = {}
_lock = threading.Lock()


def nursery() -> Nursery:
    return _nursery


def pool(processes: int | None = None, limits: Limits = Limits()) -> Pool:
    """The pool of this process with so many workers (default: a worker for each core); ends with this process."""
    key = (processes or cores(), limits)
    with _lock:
        if key not in _pools:
            _pools[key] = Pool(*key)
        return _pools[key]


def _after_fork() -> None:
    """In a forked child the pipes and threads belong to the parent: start afresh."""
    global _nursery, _lock
    _lock = threading.Lock()
    if _nursery.control:
        _nursery.control.close()
    _nursery = Nursery()
    _pools.clear()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _nursery.close())
