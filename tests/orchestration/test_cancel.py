"""Cancel in the UI and a server that goes away: no process left behind, no finished work lost, states that are true."""

import json
import re
import urllib.request

import pytest

from tests.toy.project import Toy, until

LONG = {"steps": 400, "seconds": 0.1}


def _cancel(server, flow_run: str) -> None:
    """What the UI's Cancel button does."""
    state = {"type": "CANCELLING", "name": "Cancelling", "message": "Cancelled by the user."}
    url, headers = f"{server.url}/flow_runs/{flow_run}/set_state", {"content-type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(url, json.dumps({"state": state}).encode(), headers), timeout=10)


def _state(toy: Toy, plant: str = "oak"):
    return list((toy.root / f"work/grow@{plant}").glob("*/state.json"))


@pytest.fixture
def begun(toy, server):
    """A pipeline in the middle of both plants; the process, and the run it shows."""
    for plant in ("oak", "fir"):
        toy.set(f"grow.plants.{plant}", LONG)
    process = toy.start(*toy.r1_command("run", "--jobs", "2"), **server.env)
    until(lambda: _state(toy) and _state(toy, "fir"), 120, "the first step of both plants")
    return toy, process, server


def _tasks(server) -> dict[str, str]:
    return {t["name"]: t["state_name"] for t in server.ask("task_runs") if "wait_for" in t["task_inputs"]}


def test_cancel_ends_every_process_and_leaves_what_the_next_run_goes_on_from(begun):
    toy, process, server = begun
    runs = server.ask("flow_runs")
    pipeline = next(r for r in runs if r["parent_task_run_id"] is None)
    # Cancel of one stage's run ends that stage alone.
    _cancel(server, next(r["id"] for r in runs if r["name"] == "grow@fir"))
    until(lambda: not any("grow fir" in c for c in toy.processes().values()), 30, "the stage to end")
    assert any("grow oak" in c for c in toy.processes().values()) and process.poll() is None
    # Cancel of the pipeline ends all of it.
    _cancel(server, pipeline["id"])
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and not toy.processes(), said
    assert "Cancelled in Prefect" in said and "Cancelled: grow@fir, grow@oak" in said
    ended = {r["name"]: r["state_name"] for r in server.ask("flow_runs")}
    assert ended == {
        pipeline["name"]: "Cancelled",
        "numbers": "Completed",
        "grow@oak": "Cancelled",
        "grow@fir": "Cancelled",
    }
    assert _tasks(server) == {
        "numbers": "Completed", "grow@oak": "Cancelled", "grow@fir": "Cancelled", "harvest": "NotReady"
    }  # fmt: skip
    again = toy.start(*toy.stage_command("grow", "oak"))
    line = next(line for line in again.stdout if "from step" in line)
    again.kill()
    again.communicate()
    assert int(re.search(r"from step (\d+)", line)[1]) > 0, "it goes on from its state"
