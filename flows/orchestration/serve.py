"""`make ui`: a Prefect server of this checkout's own and the deployments it serves, kept up by one small process.

Nothing is taken from a developer's PREFECT_* variables or profile: port and database come from R1_UI_PORT and
R1_UI_DATABASE, everything else from here. All data lies in .prefect/, which git ignores. The keeper (`main`) holds a
lock while it lives, starts the server and the process that runs what people trigger, and starts either anew when it
ends; it ends with all that was ever started below it, which it knows by the variable OWNED in their environment.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO

from flows.orchestration.params import ParamsError, find_root
from flows.orchestration.publish import write_atomically

PORT, DATABASE, OWNED = "R1_UI_PORT", "R1_UI_DATABASE", "R1_UI"
PATIENCE = 300.0  # seconds for a server's first start, which lays out its database; 30 on an idle machine
GRACE = 15.0  # seconds between SIGTERM and SIGKILL: a stage may be writing a checkpoint
AGAIN, LONG = 2.0, 60.0  # seconds before what ended by itself is started anew, at first and at most
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Window:
    """Where the UI of one checkout is and where it keeps its data."""

    root: Path
    port: int = 4200
    database: str | None = None  # SQLAlchemy URL; None: SQLite in .prefect/

    @property
    def home(self) -> Path:
        return self.root / ".prefect"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.home / "ui.log"

    @property
    def registered(self) -> Path:
        """Written once the deployments are known to the server."""
        return self.home / "registered"

    def environment(self) -> dict[str, str]:
        """The environment of the server and of all it starts: no PREFECT_* variable but these."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")}
        return env | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            OWNED: str(self.home),
            PORT: str(self.port),
            **({DATABASE: self.database} if self.database else {}),
            "PREFECT_HOME": str(self.home),
            "PREFECT_PROFILES_PATH": str(self.home / "profiles.toml"),
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_UI_API_URL": f"{self.url}/api",
            "PREFECT_UI_STATIC_DIRECTORY": str(self.home / "ui"),  # the package's folder may be read-only
            "PREFECT_API_DATABASE_CONNECTION_URL": self.database or f"sqlite+aiosqlite:///{self.home}/prefect.db",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "DO_NOT_TRACK": "1",
            "DVC_NO_ANALYTICS": "1",
        }


def window(root: Path, port: int | None = None) -> Window:
    """The UI as `port`, else the environment, asks for it; ParamsError where that is no port."""
    given = os.environ.get(PORT, "")
    if port is None and given and not (given.isdigit() and 0 < int(given) < 65536):
        raise ParamsError(f"{PORT} is {given!r}; expected a port, 1 to 65535")
    return Window(root, port or int(given or 4200), os.environ.get(DATABASE) or None)


def running(root: Path) -> dict | None:
    """What the keeper of this checkout wrote about itself, `{pid, port, url}`; None where none lives."""
    lock = _lock(root / ".prefect" / "keeper.lock", fcntl.LOCK_SH)  # two who ask do not see each other
    if lock:
        lock.close()
        return None
    try:
        return json.loads((root / ".prefect" / "keeper.json").read_text())
    except (OSError, ValueError):
        return {}  # it lives, and has not written yet


def start(wanted: Window) -> tuple[str, bool]:
    """Have the UI up and its deployments served; its address, and whether it was up before. Returns when ready.

    Raises ParamsError where the port is taken or the server does not come up, with the log's last lines.
    """
    wanted.home.mkdir(exist_ok=True)
    was_up = running(wanted.root)
    if was_up is None:
        _need_free(wanted.port)
        wanted.registered.unlink(missing_ok=True)
        with open(wanted.log, "ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", "flows.orchestration.serve", "keep"],
                cwd=wanted.root,
                env=wanted.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    began, end = time.monotonic(), time.monotonic() + PATIENCE
    while time.monotonic() < end:
        keeper = running(wanted.root)
        if keeper and wanted.registered.is_file() and _answers(keeper["url"]):
            return keeper["url"], was_up is not None
        if keeper is None and time.monotonic() > began + 5:
            break
        time.sleep(0.2)
    if was_up is None:  # what somebody else started, and may be at work, is not ours to end
        stop(wanted.root)
    raise ParamsError(f"the Prefect server did not come up; the end of {wanted.log}:\n{_tail(wanted.log)}")


def stop(root: Path) -> int:
    """End the keeper, the server and every run that was triggered from it; how many processes were there.

    Stages get SIGTERM first, which has them keep their checkpoint: the next run goes on from there.
    """
    home, count = root / ".prefect", 0
    for sig, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        found = list(_owned(home))
        count = max(count, len(found))
        for pid in found:
            _signal(pid, sig)
        end = time.monotonic() + patience
        while found and time.monotonic() < end:
            time.sleep(0.1)
            found = list(_owned(home))
        if not found:
            break
    for name in ("keeper.json", "registered"):
        (home / name).unlink(missing_ok=True)
    return count


def keep() -> None:
    """Keep the server and the runner of the deployments up until SIGTERM."""
    here = window(find_root())
    here.home.mkdir(exist_ok=True)
    lock = _lock(here.home / "keeper.lock", patience=1.0)  # who asks whether one lives holds it for an instant
    if lock is None:
        return  # two `make ui` at once: the other one keeps it
    signal.signal(signal.SIGTERM, _leave)
    said = {"pid": os.getpid(), "port": here.port, "url": here.url}
    write_atomically(here.home / "keeper.json", json.dumps(said) + "\n")
    server = _Kept(here, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(here.port))
    runner = _Kept(here, "-m", "flows.orchestration.serve", "run")
    seen = _stamp(here.root)
    while True:
        server.see_to()
        if runner.process or _answers(here.url):
            runner.see_to()
        if runner.process and seen != (now := _stamp(here.root)):
            seen = now
            subprocess.Popen([sys.executable, "-m", "flows.orchestration.serve", "register"], cwd=here.root,
                             env=here.environment())  # fmt: skip
        time.sleep(0.5)


class _Kept:
    """A process that is started anew when it ends, later and later while it does so at once."""

    def __init__(self, here: Window, *words: str):
        self.here, self.words, self.pause, self.due = here, words, AGAIN, 0.0
        self.process: subprocess.Popen | None = None
        self.since = 0.0

    def see_to(self) -> None:
        now = time.monotonic()
        if self.process and self.process.poll() is None:
            return
        if self.process and not self.due:
            self.pause = AGAIN if now - self.since > LONG else min(2 * self.pause, LONG)
            self.due = now + self.pause
            print(f"{self.words} ended with {self.process.returncode}; again in {self.pause:.0f} s", flush=True)
        if now >= self.due:
            self.due, self.since = 0.0, now
            self.process = subprocess.Popen(
                [sys.executable, *self.words], cwd=self.here.root, env=self.here.environment(),
                preexec_fn=_die_with_keeper,  # noqa: PLW1509 - the keeper has one thread
            )  # fmt: skip


def _stamp(root: Path) -> list:
    """What the forms are made from, as it stands."""
    files = [root / "dvc.yaml", root / "params.yaml", *sorted((root / "recipes").glob("*.yaml"))]
    return [(f, f.stat().st_mtime_ns) for f in files if f.is_file()]


def register() -> list:
    """Tell the server of the deployments, with the names that stages and recipes have now."""
    from flows.orchestration.deployments import deployments

    made = deployments()
    for deployment in made:
        deployment.apply()
    return made


def run() -> None:
    """Run what is triggered, each run in a process of its own, until SIGTERM."""
    import asyncio

    from prefect.runner import Runner

    from flows.orchestration.deployments import deployments

    runner = Runner(name="r1", query_seconds=2, limit=None, pause_on_shutdown=False)
    for deployment in deployments():
        runner.add_deployment(deployment)
    window(find_root()).registered.write_text(f"{os.getpid()}\n")
    asyncio.run(runner.start())


def _leave(*_) -> None:
    raise SystemExit(0)  # what it started dies with it


def _die_with_keeper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _owned(home: Path) -> Iterator[int]:
    """Every process with this UI's mark in its environment, the runs it started and their stages among them."""
    mark = f"{OWNED}={home}\0".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = mark in (folder / "environ").read_bytes() + b"\0"
            dead = ours and (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            continue
        if ours and not dead and int(folder.name) != os.getpid():
            yield int(folder.name)


def _signal(pid: int, sig: int) -> None:
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def _lock(path: Path, kind: int = fcntl.LOCK_EX, patience: float = 0.0) -> IO[bytes] | None:
    """The lock, or None where somebody holds it, for `patience` seconds and longer."""
    path.parent.mkdir(exist_ok=True)
    handle = open(path, "ab")  # noqa: SIM115 - the open file is the lock
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= end:
                handle.close()
                return None
            time.sleep(0.05)


def _need_free(port: int) -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as exc:
            raise ParamsError(
                f"port {port} of 127.0.0.1 is taken ({exc.strerror}): choose another, `{PORT}={port + 1} make ui`"
            ) from None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/health", timeout=3) as answer:
            return answer.status == 200
    except (OSError, ValueError, HTTPException):
        return False


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.is_file() else "(no log)"


if __name__ == "__main__":
    {"keep": keep, "run": run, "register": register}[sys.argv[1]]()
