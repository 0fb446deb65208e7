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
from pathlib import Path
from typing import IO

from flows.orchestration.params import ParamsError, find_root
from flows.orchestration.publish import write_atomically

PORT, DATABASE, OWNED = "R1_UI_PORT", "R1_UI_DATABASE", "R1_UI"
PATIENCE = 180.0  # seconds for a server's first start, which lays out its database
GRACE = 15.0  # seconds between SIGTERM and SIGKILL: a stage may be writing a checkpoint
AGAIN = 3.0  # seconds before what ended by itself is started anew
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
    lock = _lock(root / ".prefect" / "keeper.lock")
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
                [sys.executable, "-m", "flows.orchestration.serve"],
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


def main() -> int:
    """Keep the server and the runner of the deployments up until SIGTERM."""
    here = window(find_root())
    here.home.mkdir(exist_ok=True)
    lock = _lock(here.home / "keeper.lock")
    if lock is None:
        return 0  # two `make ui` at once: the other one keeps it
    signal.signal(signal.SIGTERM, _leave)
    said = {"pid": os.getpid(), "port": here.port, "url": here.url}
    write_atomically(here.home / "keeper.json", json.dumps(said) + "\n")
    commands = {
        "server": ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(here.port)],
        "runner": ["-m", "flows.orchestration.deployments", "serve"],
    }
    alive: dict[str, subprocess.Popen] = {}
    while True:
        for name, words in commands.items():
            if name == "runner" and name not in alive and not _answers(here.url):
                continue
            if name not in alive or alive[name].poll() is not None:
                if name in alive:
                    print(f"{name} ended with {alive[name].returncode}; starting it again", flush=True)
                    time.sleep(AGAIN)
                alive[name] = subprocess.Popen(
                    [sys.executable, *words], cwd=here.root, env=here.environment(), preexec_fn=_die_with_keeper
                )
        time.sleep(0.5)


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


def _lock(path: Path) -> IO[bytes] | None:
    """The lock, or None where somebody holds it."""
    path.parent.mkdir(exist_ok=True)
    handle = open(path, "ab")  # noqa: SIM115 - the open file is the lock
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


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
    except (OSError, ValueError):
        return False


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.is_file() else "(no log)"


if __name__ == "__main__":
    sys.exit(main())
