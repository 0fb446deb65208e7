"""The process of a server: in a group of its own, watched by a thread, started anew when it dies, ended as a whole.

A server never outlives who started it, SIGKILL included: server_leash.py. The kernel's signal that it waits for comes
when the *thread* that started it ends, so the thread that does lives as long as the server is wanted.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

GRACE = 15.0  # seconds between SIGTERM and SIGKILL, longer than the leash waits for the server
LOOK = 0.25  # seconds between looks at a server that starts or runs
SAID = 12  # lines of the log in an error
CAUSE = re.compile(r"(?:^|[\s.])(\w*(?:Error|Exception): .+)")


class Keeper:
    """Runs `command` until `stop`; `health`: URL that answers 200 once it is ready."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path, health: str, timeout: float, restarts: int):
        self.command, self.env, self.log, self.health = command, env, Path(log), health
        self.timeout, self.allowed = timeout, restarts
        self.pid: int | None = None  # of the leash, and the number of the group of all that it started
        self.problem = ""
        self.restarts = 0
        self.ready, self.ended, self.stopping = threading.Event(), threading.Event(), threading.Event()
        self.begun, self.mark = time.monotonic(), 0  # of this start: when, and where in the log
        self.thread = threading.Thread(target=self._keep, name="server", daemon=True)

    def start(self, say: Callable[[float, str], None] | None = None) -> None:
        """Start it and wait until it is ready or `problem` says why it never will be."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.thread.start()
        told = 0.0
        while not self.ready.wait(LOOK) and not self.ended.is_set():
            if say and (seconds := time.monotonic() - self.begun) - told >= 1:
                told = seconds
                say(seconds, self._last_line())

    def stop(self) -> None:
        """End it and every process of its group; returns when they are gone."""
        self.stopping.set()
        if self.thread.ident is not None:
            self.thread.join()

    def _keep(self) -> None:
        try:
            while self._serve():
                self.restarts += 1
        except OSError as error:  # the program is not there, the log cannot be written
            self.problem = str(error)
        finally:
            self.ready.clear()
            self.ended.set()

    def _serve(self) -> bool:
        """Run the server once, to its end; whether it is to be started anew."""
        with open(self.log, "ab") as out:
            self.begun, self.mark = time.monotonic(), out.tell()
            out.write(f"$ {' '.join(self.command)}\n".encode())
            out.flush()
            leash = Path(__file__).with_name("server_leash.py")
            leashed = [sys.executable, "-I", "-S", str(leash), str(os.getpid()), *self.command]
            process = subprocess.Popen(
                leashed, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.log.parent, start_new_session=True
            )  # fmt: skip
        self.pid = process.pid
        try:
            was_ready = self._await_end(process)
            status = process.poll()
        finally:
            self.pid = None
            _end(process)
        if self.stopping.is_set() or self.problem:
            return False
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        if was_ready and self.restarts < self.allowed:
            self._note(f"r1: the server ended ({how}) and is started anew, {self.restarts + 1} of {self.allowed} times")
            return True
        again = f" after being started anew {self.restarts} times" if self.restarts else ""
        self.problem = f"the server ended ({how}){again}\n{self._said()}"
        return False

    def _await_end(self, process: subprocess.Popen) -> bool:
        """Whether it ever was ready, once it has ended, is to be stopped or has not become ready in time."""
        while process.poll() is None and not self.stopping.wait(LOOK):
            if not self.ready.is_set() and _answers(self.health):
                self.ready.set()
            elif not self.ready.is_set() and time.monotonic() - self.begun > self.timeout:
                self.problem = f"no answer from {self.health} within {self.timeout:g} s\n{self._said()}"
                break
        was_ready = self.ready.is_set()
        self.ready.clear()
        return was_ready

    def _note(self, line: str) -> None:
        with open(self.log, "a", encoding="utf-8") as out:
            out.write(f"{line}\n")

    def _lines(self) -> list[str]:
        """The log since this start."""
        try:
            with open(self.log, "rb") as log:
                log.seek(self.mark)
                return [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        except OSError:
            return []

    def _last_line(self) -> str:
        return (self._lines() or [""])[-1]

    def _said(self) -> str:
        """The errors of the log where it names any, else its end; and where it is."""
        lines = self._lines()
        causes = list(dict.fromkeys(m[1] for line in lines if (m := CAUSE.search(line))))
        said = causes[-3:] or lines[-SAID:]
        return "\n".join([*(f"  {line[:300]}" for line in said), f"its log: {self.log}"])


def _end(process: subprocess.Popen) -> None:
    """End the whole group of a process: SIGTERM, and SIGKILL for what is left after GRACE."""
    end = time.monotonic() + GRACE
    if process.poll() is None:
        process.terminate()
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    try:  # what the first process left behind, or all of it
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no $HTTP_PROXY to a server on this machine


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=5) as answer:
            return answer.status == 200
    except (OSError, ValueError, HTTPException):
        return False
