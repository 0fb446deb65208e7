"""The server goes away at the start or the end of a run, or comes back: the work is done, nothing waits, states are true."""

import socket
import threading
import time
import urllib.request
from contextlib import suppress

import pytest

from flows.orchestration import serve, tracked, tracking
from flows.orchestration.child import FAILED, NOT_READY, Children, Outcome
from flows.orchestration.dag import load_dag
from flows.orchestration.pipeline import Pipeline
from tests.toy.project import until

MOMENTS = {
    "start": lambda toy, server: server.ask("flow_runs"),  # the pipeline's run is known, no stage's is
    "end": lambda toy, server: toy.has("metrics/numbers.json"),  # published, and not yet told
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_server_that_dies_at_the_start_or_the_end_loses_nothing(toy, server, door, moment):
    run = toy.start(*toy.r1_command("run", "numbers"), **door.env)
    until(lambda: MOMENTS[moment](toy, server), 120, moment)
    door.shut()
    shut = time.monotonic()
    said, _ = run.communicate(timeout=180)
    assert run.returncode == 0 and "1 Completed in" in said and "going on without it" in said
    assert time.monotonic() - shut < 90, "no waiting for a server that is gone"
    assert "All 1 stages are up to date" in toy.r1("run", "numbers", **door.env)


ANSWERS = {"nonsense": b"nonsense\r\n\r\n", "half": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_server_that_dies_in_the_middle_of_an_answer_is_away(answer, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer_all() -> None:
            with suppress(OSError):  # closed
                while True:
                    inside, _ = listening.accept()
                    with inside:
                        inside.recv(1 << 16)
                        inside.sendall(ANSWERS[answer])

        threading.Thread(target=answer_all, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(tracked.Away):
            tracked.ask(url, "flow_runs/count", {})
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert tracking.server() == (url if answer == "half" else None)
        assert serve._answers(url) == (answer == "half")
        listening.shutdown(socket.SHUT_RDWR)


def test_a_task_run_that_was_deleted_in_the_ui_holds_up_no_other(toy, server, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", server.url)
    dag = load_dag(toy.root)
    run = Pipeline(toy.root, dag, list(dag.nodes), set(dag.nodes), 1, Children(toy.root, 1))
    shown = tracked.FlowRun(run)
    shown.sync()
    gone = urllib.request.Request(f"{server.url}/task_runs/{shown._tasks['numbers']}", method="DELETE")
    urllib.request.urlopen(gone, timeout=10)
    run.todo.clear()
    shown.sync()
    states = {t["name"]: t["state_name"] for t in server.ask("task_runs")}
    assert states == dict.fromkeys(["grow@oak", "grow@fir", "harvest"], "Fresh") and not shown._silent_until
    shown.end()
    assert server.ask("flow_runs")[0]["state_name"] == "Completed"


def test_a_server_that_comes_back_is_told_what_it_missed(toy, server, door, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", door.url)
    monkeypatch.setattr(tracked, "PAUSE", 0.0)
    dag = load_dag(toy.root)
    run = Pipeline(toy.root, dag, list(dag.nodes), {"grow@oak", "harvest"}, 1, Children(toy.root, 1))
    shown = tracked.FlowRun(run)

    def states() -> dict[str, str]:
        return {t["name"]: t["state_name"] for t in server.ask("task_runs")}

    shown.sync()
    before = {"numbers": "Fresh", "grow@fir": "Fresh", "grow@oak": "Pending", "harvest": "Pending"}
    assert states() == before
    door.shut()
    run.todo.clear()
    run.outcomes["grow@oak"] = Outcome("grow@oak", FAILED, 1.0, "the frost came")
    run.outcomes["harvest"] = Outcome("harvest", NOT_READY, 0.0, "needs grow@oak")
    shown.sync()
    assert states() == before
    shown._url = server.url  # it answers again
    shown.end()
    assert states() == before | {"grow@oak": "Failed", "harvest": "NotReady"}
    (flow_run,) = server.ask("flow_runs")
    assert flow_run["state_name"] == "Failed" and flow_run["state"]["message"] == "failed: grow@oak"
    table = next(a["data"] for a in server.ask("artifacts") if a["key"] == "r1-stages")
    assert '"the frost came"' in table
