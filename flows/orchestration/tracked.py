"""The pipeline as one Prefect flow run: a task run for every stage, each stage's own flow run below it.

Scheduling, retries and the end of processes stay with the pipeline: it tells the server what has changed, over
Prefect's REST API, and asks now and then whether somebody pressed Cancel. Prefect's engine has no part in it, since it
holds up finished work for minutes when its server goes away. What a server that was away has missed it is told when it
answers again.
"""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from flows.orchestration import tracking
from flows.orchestration.child import CACHED, CANCELLED, COMPLETED, FAILED, FRESH, NOT_READY, Outcome

if TYPE_CHECKING:
    from flows.orchestration.pipeline import Pipeline

TIMEOUT = 4.0  # seconds for one answer
PAUSE = 20.0  # seconds before a server that failed to answer is asked again
REFUSALS = (404, 409, 422)  # HTTP
AGAIN = (0.25, 0.5, 1.0, 2.0)  # seconds before another try where it is up but has no time: SQLite is locked for a moment
ASK = 2.0  # seconds between questions whether the run is being cancelled
TYPES = {
    COMPLETED: "COMPLETED",
    CACHED: "COMPLETED",
    FRESH: "COMPLETED",
    FAILED: "FAILED",
    NOT_READY: "PENDING",
    CANCELLED: "CANCELLED",
}
COLOURS = {COMPLETED: "#2ac769", CACHED: "#9fe0bb", FRESH: "#d5dbe3", FAILED: "#fb4e4e", CANCELLED: "#f1a34a"}
OPEN = ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "CRASHED"]  # of a nested run whose process has ended


class Away(Exception):
    """The server does not answer."""


class Refused(Away):
    """It answers, and will never take this: what it is about was deleted in the UI, or is not as it was."""


def ask(url: str, path: str, body: Any = None) -> Any:
    """POST `body` as JSON, or GET without one; the answer. Away where there is none within TIMEOUT seconds.

    A server that says it has no time (503) is asked again, AGAIN: what is sent may arrive twice.
    """
    headers = {"content-type": "application/json"}
    if user := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/{path}", data, headers)
    for pause in (*AGAIN, None):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as exc:
            if exc.code != HTTPStatus.SERVICE_UNAVAILABLE or pause is None:
                kind = Refused if exc.code in REFUSALS else Away
                raise kind(f"{path}: HTTP {exc.code} {exc.reason}") from None
        except (OSError, ValueError, HTTPException) as exc:  # the last: it died in the middle of its answer
            raise Away(f"{path}: {exc}") from None
        time.sleep(pause)


def within() -> str | None:
    """Id of the Prefect flow run that this code is part of: a pipeline triggered from the UI."""
    if "prefect" not in sys.modules:
        return None
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else None


class FlowRun:
    """What a run of the pipeline shows in Prefect; without a server every method does nothing."""

    def __init__(self, pipeline: "Pipeline"):
        self.pipeline = pipeline
        self.id = within()
        self._triggered = self.id is not None
        self._url = (tracking.server() or "").rstrip("/")
        self._key = uuid.uuid4().hex  # names this flow run until it has an id: told twice, it is made once
        self._tasks = {stage: str(uuid.uuid4()) for stage in pipeline.selected}  # ids of their task runs
        self._made: set[str] = set()  # stages whose task runs the server has
        self._told: dict[str, tuple[str, str, str]] = {}
        self._unsaid: list[dict] = []
        self._silent_until = self._asked = 0.0

    def parent(self, stage: str) -> str | None:
        """`<flow run>/<task run>`, below which the stage's own flow run hangs itself.

        The task run's id is ours, so that a stage that starts while the server has no time is found below it later.
        """
        return f"{self.id}/{self._tasks[stage]}" if self._url and self.id else None

    def say(self, text: str) -> None:
        """A line of the run's log; prints of a triggered run are Prefect's to log."""
        if self._url and not self._triggered:
            now = datetime.now(UTC).isoformat()
            self._unsaid.append({"name": "r1", "level": 20, "message": text, "timestamp": now})

    def sync(self) -> None:
        """Tell the server all that it does not know yet, if it answers."""
        if not self._url or time.monotonic() < self._silent_until:
            return
        try:
            self.id = self.id or self._begin()
            for stage in self.pipeline.selected:
                state = self._state(stage)
                if self._told.get(stage) != state:
                    with suppress(Refused):  # the others' pages go on
                        self._tell(stage, *state)
                    self._told[stage] = state
            if self._unsaid:
                ask(self._url, "logs/", [line | {"flow_run_id": self.id} for line in self._unsaid])
                self._unsaid.clear()
        except Away as exc:
            self._away(exc)

    def _away(self, exc: Away) -> None:
        if not self._silent_until:
            print(f"Prefect's server does not answer ({exc}): going on without it", file=sys.stderr, flush=True)
        self._silent_until = time.monotonic() + PAUSE

    def _begin(self) -> str:
        flow = ask(self._url, "flows/", {"name": "r1"})
        state = {"type": "PENDING", "name": "Pending"}
        tags = ["via:r1", f"recipe:{self.pipeline.recipe}"]
        new = {"flow_id": flow["id"], "idempotency_key": self._key, "name": self._name(), "state": state, "tags": tags}
        run = ask(self._url, "flow_runs/", new)
        ask(self._url, f"flow_runs/{run['id']}/set_state", {"state": {"type": "RUNNING", "name": "Running"}})
        return run["id"]

    def _name(self) -> str:
        stages = [s for s in self.pipeline.selected if s in self.pipeline.todo or s in self.pipeline.running]
        return f"r1 run: {', '.join(stages[:3])}" + (f" +{len(stages) - 3}" if len(stages) > 3 else "")

    def _tell(self, stage: str, kind: str, name: str, message: str) -> None:
        body = {"type": kind, "name": name, "message": message or None}
        if stage not in self._made:
            node = self.pipeline.dag[stage]
            before = [self._tasks[u] for u in self.pipeline.dag.upstream[stage] if u in self._tasks]
            task = {
                "id": self._tasks[stage],
                "flow_run_id": self.id,
                "name": stage,
                "task_key": f"r1.{node.name}",
                "dynamic_key": self._tasks[stage],
                "task_inputs": {"wait_for": [{"input_type": "task_run", "id": i} for i in before]},
                "state": body,
            }
            made = ask(self._url, "task_runs/", task)
            self._made.add(stage)
            if made["state"]["name"] == name:  # else it was made before: that answer was lost on its way
                return
        ask(self._url, f"task_runs/{self._tasks[stage]}/set_state", {"state": body, "force": True})

    def _state(self, stage: str) -> tuple[str, str, str]:
        """Type, name and message of the stage's state in Prefect."""
        run = self.pipeline
        if outcome := run.outcomes.get(stage):
            return TYPES[outcome.state], outcome.state, _words(outcome)
        if stage in run.running:
            attempt, said = run.children.attempts.get(stage, 1), run.children.progress(stage)
            if not said.get("total") and said.get("note", "").startswith("waits"):
                return "RUNNING", "Waiting", said["note"]
            return ("RUNNING", "Retrying", f"attempt {attempt}") if attempt > 1 else ("RUNNING", "Running", "")
        if stage in run.todo:
            return "PENDING", "Pending", ""
        return "COMPLETED", FRESH, "nothing that it depends on has changed"

    def cancelled(self) -> list[str] | None:
        """Stages whose runs somebody is cancelling in the UI; None: the whole run."""
        if not self.id or time.monotonic() < max(self._asked + ASK, self._silent_until):
            return []
        self._asked = time.monotonic()
        try:
            wanted = {"state": {"type": {"any_": ["CANCELLING", "CANCELLED"]}}}
            mine = {"flow_runs": wanted | {"id": {"any_": [self.id]}}}
            if not self._triggered and ask(self._url, "flow_runs/count", mine):  # else Prefect's runner sends SIGTERM
                return None
            return [run["name"] for run in self._nested(["CANCELLING"])]
        except Away as exc:
            self._away(exc)
            return []

    def _nested(self, states: list[str]) -> list[dict]:
        mine = {"parent_flow_run_id": {"any_": [self.id]}, "state": {"type": {"any_": states}}}
        return ask(self._url, "flow_runs/filter", {"flow_runs": mine, "limit": 200})

    def end(self) -> None:
        """The last words: the table, the graph, and no run shown as running whose process has ended."""
        self._silent_until = 0.0
        self.sync()
        if not self.id or time.monotonic() < self._silent_until:
            return
        try:
            for run in self._nested(OPEN):
                state = self.pipeline.outcomes.get(run["name"])
                ended = CANCELLED if state and state.state == CANCELLED else "Crashed"
                body = {"type": ended.upper(), "name": ended, "message": "its process has ended"}
                ask(self._url, f"flow_runs/{run['id']}/set_state", {"state": body, "force": True})
            self._artifacts()
            if not self._triggered:
                ask(self._url, f"flow_runs/{self.id}/set_state", {"state": self._final(), "force": True})
        except Away as exc:
            self._away(exc)

    def _final(self) -> dict[str, str]:
        outcomes = self.pipeline.outcomes
        for state, kind in ((CANCELLED, "CANCELLED"), (FAILED, "FAILED")):
            if bad := [s for s, o in outcomes.items() if o.state == state]:
                return {"type": kind, "name": state, "message": f"{state.lower()}: {', '.join(bad)}"}
        return {"type": "COMPLETED", "name": COMPLETED, "message": f"{len(outcomes)} stages visited"}

    def _artifacts(self) -> None:
        """How each stage ended as a table, and the DAG as a graph in the states' colours."""
        run, dag = self.pipeline, self.pipeline.dag
        rows = [
            {"stage": s, "state": self._told[s][1], "seconds": round(o.seconds, 1) if o else None, "message": words}
            for s in run.selected
            for o, words in [(run.outcomes.get(s), self._told[s][2])]
        ]
        ids = {stage: f"s{i}" for i, stage in enumerate(run.selected)}
        lines = [f'{i}["{s}"]' for s, i in ids.items()]
        lines += [f"{ids[u]} --> {ids[s]}" for s in ids for u in dag.upstream[s] if u in ids]
        for state, colour in COLOURS.items():
            if of := [ids[s] for s in ids if self._told[s][1] == state]:
                lines += [f"classDef {state} fill:{colour}", f"class {','.join(of)} {state}"]
        graph = "```mermaid\nflowchart LR\n" + "\n".join(lines) + "\n```\n"
        made = [
            ("r1-stages", "table", json.dumps(rows), "how each stage ended"),
            ("r1-dag", "markdown", graph, "the DAG, coloured by state"),
        ]
        for key, kind, data, words in made:
            body = {"key": key, "type": kind, "data": data, "description": words, "flow_run_id": self.id}
            ask(self._url, "artifacts/", body)


def _words(outcome: Outcome) -> str:
    if outcome.message:
        return outcome.message
    tries = f", at attempt {outcome.attempts}" if outcome.attempts > 1 else ""
    return f"in {outcome.seconds:.0f} s{tries}" if outcome.seconds else ""
