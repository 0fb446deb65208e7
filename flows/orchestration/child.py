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

from flows.orchestration import guard, tracking

POLL = 2.0  # seconds before asking again for a stage that somebody else is building
GRACE = 5.0  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Outcome:
    stage: str
    how: str  # ran, restored (from DVC's run cache), unchanged, failed, stopped
    seconds: float
    message: str = ""


class Children:
    """The dvc processes of this run; none of them outlives it."""

    def __init__(self, root: Path, threads: int, forced: Collection[str] = ()):
        self.root, self.threads, self.forced = root, threads, forced
        self._alive: dict[int, subprocess.Popen] = {}
        self._lock = threading.Lock()
        self._stopped = False
        for folder in ("logs", "runs"):
            (root / "work" / folder).mkdir(parents=True, exist_ok=True)

    def log(self, stage: str) -> Path:
        return self.root / "work" / "logs" / f"{stage}.log"

    def progress(self, stage: str) -> dict:
        """What the stage last said about itself; {} where it said nothing yet."""
        try:
            return json.loads(self._progress_file(stage).read_text())
        except (OSError, ValueError):
            return {}

    def _progress_file(self, stage: str) -> Path:
        return self.root / "work" / "runs" / f".{stage}.progress"

    def run(self, stage: str, parent: str | None = None) -> Outcome:
        """Bring one stage up to date; blocks. Waits while another run or a shell is building it."""
        started = time.monotonic()
        self._progress_file(stage).unlink(missing_ok=True)
        self.log(stage).write_text("")
        status = self._once(stage, parent)
        while status != 0 and not self._stopped and guard.BUSY in self.log(stage).read_text(errors="replace"):
            time.sleep(POLL)
            self.log(stage).write_text("")
            status = self._once(stage, parent)
        self._progress_file(stage).unlink(missing_ok=True)
        seconds = time.monotonic() - started
        text = self.log(stage).read_text(errors="replace")
        if self._stopped:
            return Outcome(stage, "stopped", seconds)
        if status != 0:
            return Outcome(stage, "failed", seconds, _reason(text, stage, status))
        how = (
            "unchanged"
            if "didn't change, skipping" in text
            else "restored"
            if "is cached - skipping run" in text
            else "ran"
        )
        return Outcome(stage, how, seconds)

    def _once(self, stage: str, parent: str | None) -> int:
        repro = ["--wait-for-lock", "repro", "--single-item", *(["--force"] if stage in self.forced else []), stage]
        with open(self.log(stage), "a") as log:
            with self._lock:
                if self._stopped:
                    return -1
                process = subprocess.Popen(
                    [sys.executable, "-m", "flows.orchestration.guard", *repro],
                    cwd=self.root,
                    env=self._environment(stage, parent),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._alive[process.pid] = process
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._alive.pop(process.pid, None)

    def _environment(self, stage: str, parent: str | None) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if k not in (*tracking.PRIVATE, tracking.PARENT)}
        env |= guard.environment(self.threads)
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
        env["PYTHONUNBUFFERED"] = "1"
        env[guard.STARTER] = str(os.getpid())
        env["R1_PROGRESS"] = str(self._progress_file(stage))
        return env | ({tracking.PARENT: parent} if parent else {})

    def stop(self) -> None:
        """End every child and all that they started; none is started afterwards."""
        with self._lock:
            self._stopped = True
            alive = list(self._alive.values())
        for sig, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
            for process in alive:
                try:
                    os.killpg(process.pid, sig)
                except ProcessLookupError:
                    pass
            end = time.monotonic() + patience
            for process in alive:
                try:
                    process.wait(max(0.1, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    pass


def _reason(text: str, stage: str, status: int) -> str:
    """The few lines of a log that say why the stage failed."""
    mark = f"[{stage}] failed: "
    if mark in text:
        said = text.rsplit(mark, 1)[1]
        return said.split("\nERROR: failed to reproduce")[0].strip()[:2000]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("Running stage", "> python"))]
    return "\n".join(lines[-4:]) or f"exit status {status}"
