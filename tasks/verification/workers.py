"""Killable worker processes for verification that may run away, each job under a time and a memory limit."""

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CPU_SECONDS = 5.0  # per job, CPU time: a busy machine does not turn a verdict into a timeout
WALL_FACTOR = 12  # a job that sleeps, or a machine this slow, is stopped by the clock
STARTUP_SECONDS = 60.0
MEMORY = 3 << 30  # bytes of address space
_ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """One worker process, started on first use and again after a limit or a crash. Safe to share between threads."""

    def __init__(self, cpu_seconds: float = CPU_SECONDS, memory: int = MEMORY):
        self.cpu_seconds, self.memory = cpu_seconds, memory
        self.process: subprocess.Popen | None = None
        self.lock = threading.Lock()
        self.pid = os.getpid()

    def ask(self, job: dict) -> dict:
        """The worker's reply, or {"limit": which} where a limit fired, or {"error": what} where it crashed."""
        with self.lock:
            if self.pid != os.getpid():  # after a fork the pipes belong to the parent
                self.process, self.pid = None, os.getpid()
            reply = self._exchange(job)
            if "limit" in reply or "exit" in reply:
                self.close()
            return reply

    def _exchange(self, job: dict) -> dict:
        process = self.process = self.process or self._start()
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._ended(process)
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(STARTUP_SECONDS + WALL_FACTOR * self.cpu_seconds):
                return {"limit": f"{STARTUP_SECONDS + WALL_FACTOR * self.cpu_seconds:g} s of wall time"}
        line = process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else self._ended(process)

    def _ended(self, process: subprocess.Popen) -> dict:
        code = process.wait()
        if code == -signal.SIGPROF:
            return {"limit": f"{self.cpu_seconds:g} s of CPU time"}
        return {"error": f"the verification worker ended with exit code {code}", "exit": code}

    def _start(self) -> subprocess.Popen:
        # One thread per library: thread pools would take most of the address space before any work.
        env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), env.get("PYTHONPATH", "")]))
        command = [sys.executable, "-m", "tasks.verification.worker_process", str(self.cpu_seconds), str(self.memory)]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
        )

    def close(self) -> None:
        if self.process and self.pid == os.getpid():
            self.process.kill()
            self.process.wait()
            with contextlib.suppress(BrokenPipeError):  # a job it never read
                self.process.stdin.close()
            self.process.stdout.close()
        self.process = None


shared = Worker()  # behind single calls; ends with this process
atexit.register(shared.close)


def ask_all(jobs: list[dict], workers: int = 1, done: Callable[[int], None] | None = None) -> Iterable[dict]:
    """Replies in the order of the jobs, from `workers` processes side by side."""
    if workers == 1 or len(jobs) < 2:
        for i, job in enumerate(jobs):
            reply = shared.ask(job)
            if done:
                done(i + 1)
            yield reply
        return
    crew = [Worker() for _ in range(workers)]
    idle = threading.local()
    spare = list(crew)

    def one(job: dict) -> dict:
        if not hasattr(idle, "worker"):
            idle.worker = spare.pop()
        return idle.worker.ask(job)

    try:
        with ThreadPoolExecutor(workers) as threads:
            for i, reply in enumerate(threads.map(one, jobs)):
                if done:
                    done(i + 1)
                yield reply
    finally:
        for worker in crew:
            worker.close()
