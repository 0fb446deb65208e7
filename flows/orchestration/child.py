"""One stage through DVC, in a process group of its own: the command, its log, its progress, its end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flows.orchestration import guard, slots, tracking
from flows.orchestration.dag import BUILT_ELSEWHERE, Node

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
DVC = (sys.executable, "-m", "flows.orchestration.guard", "--wait-for-lock", "repro", "--single-item")

# How a stage of a run may end; the same words in the terminal and in Prefect's pages.
COMPLETED, CACHED, FRESH = "Completed", "Cached", "Fresh"  # it ran; restored from DVC's run cache; nothing to do
FAILED, NOT_READY, CANCELLED = "Failed", "NotReady", "Cancelled"  # NotReady: something that it needs failed
STATES = (COMPLETED, CACHED, FRESH, FAILED, NOT_READY, CANCELLED)
GOOD = (COMPLETED, CACHED, FRESH)


@dataclass(frozen=True)
class Outcome:
    stage: str
    state: str  # one of STATES
    seconds: float
    message: str = ""
    attempts: int = 1


class Children:
    """The dvc processes of this run; none of them outlives it."""

    def __init__(self, root: Path, threads: int, forced: Collection[str] = ()):
        self.root, self.threads, self.forced = root, threads, forced
        self.attempts: dict[str, int] = {}  # of stages that were begun: which attempt it is
        self._alive: dict[str, subprocess.Popen] = {}
        self._cancelled: set[str] = set()
        self._waits: dict[str, str] = {}  # stages that another run is seeing to: what is said of them meanwhile
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        for folder in ("logs", "runs"):
            (root / "work" / folder).mkdir(parents=True, exist_ok=True)

    def log(self, stage: str) -> Path:
        return self.root / "work" / "logs" / f"{stage}.log"

    def progress(self, stage: str) -> dict:
        """What the stage last said about itself; {} where it said nothing yet."""
        if note := self._waits.get(stage):
            return _waiting(stage, note)
        try:
            return json.loads(self._progress_file(stage).read_text())
        except (OSError, ValueError):
            return {}

    def _tell(self, stage: str, note: str) -> None:
        """Progress of a stage that cannot say it itself, since it has not begun."""
        self._progress_file(stage).write_text(json.dumps(_waiting(stage, note)))

    def _progress_file(self, stage: str) -> Path:
        return self.root / "work" / "runs" / f".{stage}.progress"

    def run(self, node: Node, parent: str | None = None) -> Outcome:
        """Bring one stage up to date; blocks. A failure is tried again as often as the stage's `retries` say.

        Args:
            node: the stage.
            parent: `<flow run id>/<task run id>` under which it appears in Prefect.
        """
        started, stage, attempt = time.monotonic(), node.stage, 1
        turn = self._turn(stage)
        if turn is None:
            return Outcome(stage, CANCELLED, time.monotonic() - started)
        with turn:
            self.log(stage).write_text("")
            while True:
                state, message = self._attempt(node, parent)
                if state != FAILED or attempt > node.retries:
                    break
                self.attempts[stage] = attempt = attempt + 1
                self._note(stage, f"attempt {attempt} of {1 + node.retries} in {node.retry_delay:g} s")
                self._stopped.wait(node.retry_delay)
            self._progress_file(stage).unlink(missing_ok=True)
            if state in GOOD:  # it is whole, however it came about
                guard.unseal(self.root, [stage])
        return Outcome(stage, state, time.monotonic() - started, message, attempt)

    def _turn(self, stage: str) -> IO[str] | None:
        """The stage's log and progress, this run's alone while the returned file is open: two pipelines in a checkout
        would read each other's words as their own. Waits for the other; None where this run was stopped meanwhile."""
        path = self.root / "work" / "locks" / f"{stage}.turn"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            while not (turn := slots.try_lock(path, 0o666)):
                holder = slots.read_holder(path) or "another run"
                self._waits[stage] = f"waits: the stage {guard.BUSY} {holder}"
                if self._stopped.wait(guard.PAUSE) or stage in self._cancelled:
                    return None
        finally:
            self._waits.pop(stage, None)
        slots.sign(turn, f"`{' '.join(sys.orig_argv)}`")
        return turn

    def _attempt(self, node: Node, parent: str | None) -> tuple[str, str]:
        """State and, of a failure, the reason. Waits while another run or a shell is building the stage."""
        while True:
            self._progress_file(node.stage).unlink(missing_ok=True)
            begin = self.log(node.stage).stat().st_size
            status = self._commands(node, parent)
            with open(self.log(node.stage), "rb") as log:
                log.seek(begin)
                text = log.read().decode(errors="replace")
            if self._stopped.is_set() or node.stage in self._cancelled:
                return CANCELLED, ""
            if status == 0:
                return _how(text), ""
            if guard.BUSY not in text:
                return FAILED, _reason(text, node.stage, status)
            self._tell(node.stage, f"waits: the stage {' '.join(text[text.rindex(guard.BUSY) :].split())[:200]}")
            guard.await_holders(text, self._stopped)

    def _commands(self, node: Node, parent: str | None) -> int:
        """`dvc repro` of the stage; before it, of a stage with a pool, what has another machine build it.

        `pools.elsewhere(node, forced)` returns that command, or None to build the stage here. It ends with status 0
        when this checkout's run cache holds what was built, so that `dvc repro` restores it: dvc.lock is written here.
        """
        forced, commands = node.stage in self.forced, []
        if node.pool:
            from flows.orchestration import pools

            if command := pools.elsewhere(node, forced):
                commands, forced = [command], False
        commands.append([*DVC, *(["--force"] if forced else []), node.stage])
        for command in commands:
            if status := self._once(command, node.stage, parent):
                return status
        return 0

    def _once(self, command: list[str], stage: str, parent: str | None) -> int:
        with open(self.log(stage), "a") as log:
            with self._lock:
                if self._stopped.is_set() or stage in self._cancelled:
                    return -1
                process = subprocess.Popen(
                    command,
                    cwd=self.root,
                    env=self._environment(stage, parent),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._alive[stage] = process
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._alive.pop(stage, None)

    def _note(self, stage: str, text: str) -> None:
        with open(self.log(stage), "a") as log:
            log.write(f"{text}\n")

    def _environment(self, stage: str, parent: str | None) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if k not in (*tracking.PRIVATE, tracking.PARENT)}
        env |= guard.environment(self.threads)
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
        env["PYTHONUNBUFFERED"] = "1"
        env[guard.STARTER] = str(os.getpid())
        env["R1_PROGRESS"] = str(self._progress_file(stage))
        return env | ({tracking.PARENT: parent} if parent else {})

    def cancel(self, stage: str) -> None:
        """End one stage and all that it started; it is not begun again."""
        with self._lock:
            self._cancelled.add(stage)
            process = self._alive.get(stage)
        if process:
            _end([process])

    def stop(self) -> None:
        """End every child and all that they started; none is started afterwards."""
        with self._lock:
            self._stopped.set()
            alive = list(self._alive.values())
        _end(alive)


def _end(processes: list[subprocess.Popen]) -> None:
    """SIGTERM to the processes' groups, SIGKILL to what is left of them after GRACE seconds."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            try:
                os.killpg(process.pid, sig)
            except ProcessLookupError:
                pass
        end = time.monotonic() + GRACE
        for process in processes:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass


def _waiting(stage: str, note: str) -> dict:
    return {"stage": stage, "done": 0, "total": 0, "note": note}


def _how(text: str) -> str:
    """Which of the good ends DVC's words mean; what a work pool has just built, and DVC restores here, has run."""
    if BUILT_ELSEWHERE in text:
        return COMPLETED
    if "didn't change, skipping" in text:
        return FRESH
    return CACHED if "is cached - skipping run" in text else COMPLETED


def _reason(text: str, stage: str, status: int) -> str:
    """The few lines of a log that say why the stage failed."""
    mark = f"[{stage}] failed: "
    if mark in text:
        said = text.rsplit(mark, 1)[1]
        return said.split("\nERROR: failed to reproduce")[0].strip()[:2000]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("Running stage", "> python"))]
    return "\n".join(lines[-4:]) or f"exit status {status}"
