"""A real Prefect server for tests, and doors to it that can be shut: to who came by a door, the server is then dead."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from tests.toy.project import BIN


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """`prefect server start` on a free port of this machine, its database in `home`; 13 CPU-s to start."""

    def __init__(self, home: Path):
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")}
        env |= {"PREFECT_HOME": str(home), "PREFECT_UI_API_URL": self.url, "DO_NOT_TRACK": "1"}
        env["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
        command = [BIN / "prefect", "server", "start", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, env=env, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.env = {"PREFECT_API_URL": self.url, "PREFECT_HOME": str(home)}
        self.forget()

    def forget(self) -> None:
        """From now on `ask` and `logs` speak only of what begins now."""
        self.since = datetime.now(UTC).isoformat()

    def up(self) -> bool:
        assert self.process.poll() is None, "the server ended"
        try:
            return urllib.request.urlopen(f"{self.url}/health", timeout=2).status == 200
        except OSError:
            return False

    def ask(self, what: str, **filters) -> list[dict]:
        """All of `flow_runs`, `task_runs`, `artifacts`, … of this test that match; filters as in Prefect's REST API."""
        found: list[dict] = []
        while True:
            asked = json.dumps(filters | {"limit": 200, "offset": len(found)}).encode()
            request = urllib.request.Request(f"{self.url}/{what}/filter", asked, {"content-type": "application/json"})
            page = json.load(urllib.request.urlopen(request, timeout=10))
            found += page
            if len(page) < 200:
                return [row for row in found if row["created"] >= self.since]

    def logs(self, flow_run: str, holds: str, seconds: float = 10.0) -> list[str]:
        """Messages of a flow run, oldest first, once one holds `holds`: Prefect sends them in batches."""
        end = time.monotonic() + seconds
        while True:
            wanted = {"logs": {"flow_run_id": {"any_": [flow_run]}}, "sort": "TIMESTAMP_ASC"}
            said = [line["message"] for line in self.ask("logs", **wanted)]
            if any(holds in line for line in said) or time.monotonic() > end:
                return said
            time.sleep(0.2)

    def kill(self) -> None:
        if self.process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Door:
    """A port in front of the server. Shut, it refuses connections and has closed those that were open: what a killed
    server looks like from outside, while the server of the other tests lives on. Frozen, it takes everything and answers
    nothing, as a server does that hangs. Busy, it says 503 to some requests, as one does whose SQLite is locked."""

    def __init__(self, server: Server):
        self._to = server.port
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._busy, self._busy_for, self._busy_until = b"", 0.0, None
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/api"
        self.env = server.env | {"PREFECT_API_URL": self.url}
        threading.Thread(target=self._let_in, daemon=True).start()

    def _let_in(self) -> None:
        with suppress(OSError):  # shut
            while True:
                inside, _ = self._listening.accept()
                with self._lock:
                    self._open.append(inside)
                threading.Thread(target=self._receive, args=[inside], daemon=True).start()

    def _receive(self, inside: socket.socket) -> None:
        with suppress(OSError):
            if self._busy and self._turned_away(inside):
                return
            outside = socket.create_connection(("127.0.0.1", self._to))
            with self._lock:
                self._open.append(outside)
            threading.Thread(target=self._pass_on, args=(outside, inside), daemon=True).start()
            self._pass_on(inside, outside)

    def _turned_away(self, inside: socket.socket) -> bool:
        if not inside.recv(1 << 10, socket.MSG_PEEK).startswith(self._busy):
            return False
        self._busy_until = self._busy_until or time.monotonic() + self._busy_for
        if time.monotonic() > self._busy_until:
            return False
        inside.recv(1 << 20)
        inside.sendall(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        inside.close()
        return True

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._flowing.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def busy(self, request: str, seconds: float) -> None:
        """No time for requests such as `POST /api/logs/`, from the first of them on for so long."""
        self._busy, self._busy_for, self._busy_until = request.encode(), seconds, None

    def freeze(self) -> None:
        self._flowing.clear()

    def shut(self) -> None:
        self._flowing.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._open.clear()
