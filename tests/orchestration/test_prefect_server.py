"""Under a real Prefect server: one flow run with nested stage runs; and when the server dies, the work does not."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from tests.toy.project import BIN, until


class Server:
    def __init__(self, home):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")}
        env |= {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        command = [BIN / "prefect", "server", "start", "--port", str(port)]
        self.process = subprocess.Popen(
            command, env=env, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.env = {"PREFECT_API_URL": self.url, "PREFECT_HOME": str(home)}

    def up(self) -> bool:
        assert self.process.poll() is None, "the server ended"
        try:
            return urllib.request.urlopen(f"{self.url}/health", timeout=2).status == 200
        except OSError:
            return False

    def ask(self, what: str) -> list[dict]:
        request = urllib.request.Request(f"{self.url}/{what}/filter", b"{}", {"content-type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=10))

    def kill(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("prefect"))
    try:
        until(server.up, 120, "the Prefect server")
        yield server
    finally:
        server.kill()


def test_stages_nest_under_one_flow_run(toy, server):
    toy.set("grow.plants.fir.fail_at", 2)
    said = toy.r1("run", ok=False, **server.env)
    assert "grow@fir failed: ValueError: the frost came" in said
    runs = {r["name"]: r for r in server.ask("flow_runs")}
    tasks = server.ask("task_runs")
    pipeline = next(r for r in runs.values() if r["parent_task_run_id"] is None)
    assert pipeline["state_type"] == "FAILED"
    stages = {n: r for n, r in runs.items() if r["parent_task_run_id"]}
    assert {n: r["state_type"] for n, r in stages.items()} == {
        "numbers": "COMPLETED",
        "grow@oak": "COMPLETED",
        "grow@fir": "FAILED",
    }
    by_id = {t["id"]: t for t in tasks}
    assert all(by_id[r["parent_task_run_id"]]["flow_run_id"] == pipeline["id"] for r in stages.values())
    oak = next(t for t in tasks if t["name"] == "grow@oak")
    numbers = next(t for t in tasks if t["name"] == "numbers")
    assert [w["id"] for w in oak["task_inputs"]["wait_for"]] == [numbers["id"]]
    kept = {a["key"]: a for a in server.ask("artifacts")}
    assert {"metrics-numbers", "metrics-grow-oak", "r1-stages", "r1-dag"} <= set(kept)
    assert {"metric": "rows", "value": 20} in json.loads(kept["metrics-numbers"]["data"])
    # A stage run by hand is a flow run of its own; a fresh pipeline needs none.
    toy.set("grow.plants.fir.fail_at", None)
    toy.dvc("repro", "grow@fir", **server.env)
    mine = [r for r in server.ask("flow_runs") if r["name"] == "grow@fir" and r["state_type"] == "COMPLETED"]
    assert len(mine) == 1 and mine[0]["parent_task_run_id"] is None and "via:dvc" in mine[0]["tags"]
    before = len(server.ask("flow_runs"))
    assert "up to date" in toy.r1("run", "grow@fir", **server.env)
    assert len(server.ask("flow_runs")) == before


def test_a_server_that_dies_takes_no_work_with_it(toy, server):
    toy.set("grow.plants.oak", {"steps": 40, "seconds": 0.2})
    run = toy.start(*toy.r1_command("run", "--jobs", "2"), **server.env)
    until(lambda: list((toy.root / "work/grow@oak").glob("*/state.json")), 90, "the first step")
    server.kill()
    killed = time.monotonic()
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert "4 ran in" in said and toy.has("report/report.md")
    assert time.monotonic() - killed < 90, "no waiting for a server that is gone"
    assert "All 4 stages are up to date" in toy.r1("run", **server.env)
