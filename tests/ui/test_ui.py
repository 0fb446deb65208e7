"""`make ui` as a person meets it: one command, a browser, forms with real names, runs that end where `dvc repro` ends."""

import json
import os
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flows.orchestration import serve
from tests.faults.all_of_it import all_of_it
from tests.orchestration.test_experiment import lock_of
from tests.toy.project import until
from tests.ui.browser import browser

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Site:
    """The toy project with its UI up."""

    def __init__(self, toy, port: int):
        self.toy, self.url = toy, f"http://127.0.0.1:{port}"
        # A developer's own settings, all of them wrong here.
        self.env = {
            "R1_UI_PORT": str(port),
            "PREFECT_API_URL": "http://127.0.0.1:9/api",
            "PREFECT_UI_API_URL": "http://prefect.invalid/api",
            "PREFECT_HOME": str(toy.root.parent / "strange"),
            "PREFECT_PROFILE": "nobody",
        }

    def r1(self, *words: str, ok: bool = True) -> str:
        return self.toy.r1(*words, ok=ok, **self.env)

    def ask(self, path: str, data: dict | None = None):
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"{self.url}/api/{path}", body, {"content-type": "application/json"})
        for patience in (0.5, 1, 2, 4, 8, 0):  # SQLite is locked for a moment: the server says 503
            try:
                return json.load(urllib.request.urlopen(request, timeout=20))
            except urllib.error.HTTPError as refused:
                if refused.code != 503 or not patience:
                    raise
                time.sleep(patience)

    def deployment(self, name: str) -> dict:
        return next(d for d in self.ask("deployments/filter", {}) if d["name"] == name)

    def newest(self, deployment: str, before: int) -> dict:
        """The run that was triggered last, once there are more than `before`."""
        these = {"flow_runs": {"deployment_id": {"any_": [self.deployment(deployment)["id"]]}}}

        def runs() -> list[dict]:
            return self.ask("flow_runs/filter", these | {"sort": "EXPECTED_START_TIME_DESC"})

        return until(lambda: len(found := runs()) > before and found[0], 60, f"a run of {deployment}")

    def ended(self, run: dict, seconds: float = 180) -> dict:
        def now() -> dict:
            return self.ask(f"flow_runs/{run['id']}")

        return until(lambda: (r := now())["state_type"] in ENDED and r, seconds, f"the end of {run['name']}")


@pytest.fixture(scope="module")
def site(toy_template, tmp_path_factory):
    toy = toy_template.copy(tmp_path_factory.mktemp("ui") / "toy")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        site = Site(toy, s.getsockname()[1])
    try:
        said = site.r1("ui")
        assert said.startswith(site.url + "\n"), said
        yield site
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                serve, "GRACE", 1.0
            )  # seconds; a server with a page open takes all there are, and nothing is at work
            serve.stop(toy.root)


def test_the_second_call_finds_the_first_and_nothing_of_a_developers_is_used(site):
    assert f"{site.url} (it was up already)" in site.r1("ui")
    assert json.loads(site.r1("ui", "--status", "--json")) == {"up": True, "url": site.url, "api": f"{site.url}/api"}
    assert not (site.toy.root.parent / "strange").exists()
    assert site.ask("admin/settings")["server"]["analytics_enabled"] is False
    other = site.toy.root.parent / "other"
    site.toy.copy(other)
    for name in ("keeper.json", "keeper.lock"):  # a checkout beside it that wants the same port
        (other / ".prefect" / name).unlink(missing_ok=True)
    said = type(site.toy)(other).r1("ui", ok=False, **site.env)
    assert f"port {site.url.split(':')[-1]} of 127.0.0.1 is taken" in said and "R1_UI_PORT=" in said


def test_forms_have_the_real_names_and_types(site):
    def form(name: str) -> dict:
        return site.deployment(name)["parameter_openapi_schema"]

    targets = form("whole pipeline")["properties"]["targets"]
    assert targets["items"]["enum"] == ["numbers", "grow@oak", "grow@fir", "harvest"]
    assert "up to date" in targets["description"]
    assert form("one stage")["properties"]["stage"]["enum"] == targets["items"]["enum"]
    assert form("another recipe")["properties"]["recipe"]["enum"] == ["large", "small"]
    experiment = form("experiment")
    steps = next(d for k, d in experiment["definitions"].items() if k.endswith("oak"))["properties"]["steps"]
    assert steps == {
        "type": "integer", "minimum": 1, "maximum": 1000, "title": "steps", "description": "now 3; steps of growth",
    }  # fmt: skip
    assert {d["name"] for d in site.ask("deployments/filter", {})} >= {"audit", "contamination"}


def test_a_run_from_the_form_ends_where_dvc_repro_ends(site, tmp_path):
    with browser(site.url) as page:
        page.open("/deployments", "whole pipeline")
        page.find("a", "whole pipeline").click()
        page.press("Run")
        page.find(".p-overflow-menu-item", "Custom run").click()
        page.until(lambda: "Stages to bring up to date" in page.text(), "the form")
        page.choose(page.field("targets"), "grow@oak")
        page.press("Submit")
        run = site.newest("whole pipeline", 0)
        assert run["parameters"]["targets"] == ["grow@oak"]
        page.open(f"/runs/flow-run/{run['id']}", "grow@oak")
        ended = site.ended(run)
        assert ended["state_type"] == "COMPLETED", ended["state"]
        page.until(lambda: "Completed" in page.text(), "the state on the page")
        nested = {r["name"]: r for r in site.ask("flow_runs/filter", {}) if r["parent_task_run_id"]}
        assert {n: r["state_type"] for n, r in nested.items()} == {"numbers": "COMPLETED", "grow@oak": "COMPLETED"}
        page.open(f"/runs/flow-run/{nested['grow@oak']['id']}", "done in")  # its log
        page.find(".p-tab", "Artifacts").click()
        page.find("a", "metrics-grow-oak").click()
        height = json.loads((site.toy.root / "metrics/grow/oak.json").read_text())["height"]
        page.until(lambda: str(height) in page.text(), "the metric in the artifact")
        assert page.hosts() == {"127.0.0.1"} and not page.errors()
    by_hand = site.toy.copy(tmp_path / "by_hand")
    for name in ("data", "dvc.lock", "metrics", "plots", ".dvc/cache"):
        path = by_hand.root / name
        by_hand.call("rm", "-rf", str(path))
    by_hand.dvc("repro", "grow@oak")
    assert by_hand.md5s() == site.toy.md5s()


@all_of_it
def test_an_experiment_from_the_form_leaves_params_and_lock_alone(site):
    before = {name: site.toy.read(name) for name in ("params.yaml", "dvc.lock")}
    with browser(site.url) as page:
        page.open(f"/deployments/deployment/{site.deployment('experiment')['id']}/run", "now 3; steps of growth")
        page.fill(page.field("name"), "tall-oak")
        page.choose(page.field("targets"), "grow@oak")
        page.fill(page.field("changes", "grow", "plants", "oak", "steps"), "0")
        page.press("Submit")
        page.until(lambda: "minimum" in page.text(), "the refusal of a value out of range")
        page.fill(page.field("changes", "grow", "plants", "oak", "steps"), "4")
        page.press("Submit")
        run = site.newest("experiment", 0)
    assert run["parameters"]["changes"] == {"grow": {"plants": {"oak": {"steps": 4}}}}
    ended = site.ended(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert {name: site.toy.read(name) for name in before} == before
    tried = lock_of(site.toy, "tall-oak")["grow@oak"]
    assert tried["params"]["params.yaml"]["grow.plants.oak"]["steps"] == 4
    table = next(a for a in site.ask("artifacts/filter", {}) if a["key"] == "experiment-metrics")
    heights = {r["metric"]: (r["before"], r["after"]) for r in json.loads(table["data"])}["metrics/grow/oak: height"]
    assert heights[0] == json.loads(site.toy.read("metrics/grow/oak.json"))["height"] != heights[1]


def test_a_wrong_override_is_one_message(site):
    asked = {"parameters": {"further": ["grow.plants.oak.stepz=4"]}}
    run = site.ask(f"deployments/{site.deployment('experiment')['id']}/create_flow_run", asked)
    ended = site.ended(run)
    assert ended["state_type"] == "FAILED" and "did you mean `steps`?" in ended["state"]["message"]


@all_of_it
def test_other_params_give_another_form_and_stopping_leaves_nothing_but_a_checkpoint(site):
    site.toy.set("grow.plants.yew", {"steps": 200, "seconds": 0.1})

    def stages() -> list[str]:
        return site.deployment("one stage")["parameter_openapi_schema"]["properties"]["stage"]["enum"]

    until(lambda: "grow@yew" in stages(), 60, "the new stage in the form")

    def trigger(name: str, **parameters) -> dict:
        return site.ask(f"deployments/{site.deployment(name)['id']}/create_flow_run", {"parameters": parameters})

    def grows() -> bool:
        return any("flows.grow yew" in command for command in site.toy.processes().values())

    run = trigger("whole pipeline", targets=["grow@yew"])
    until(lambda: list((site.toy.root / "work/grow@yew").glob("*/state.json")), 90, "the first step")
    site.ask(f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    assert site.ended(run)["state_type"] == "CANCELLED"
    until(lambda: not grows(), 10, "the stage to end with its run")
    trigger("one stage", stage="grow@yew")
    until(grows, 90, "the stage to go on")
    assert "stopped" in site.r1("ui", "--stop")
    assert site.toy.processes() == {} and not list(_marked(site.toy.root))
    assert site.r1("ui", "--status", ok=False).startswith("not running")
    assert site.r1("ui", "--stop").startswith("it was not running")
    site.toy.dvc("repro", "--single-item", "grow@yew")
    assert len(json.loads(site.toy.read("data/03_grow/yew/plant.json"))) == 200
    said = site.toy.dvc("repro", "--single-item", "--force", "grow@oak")  # the project is as usable as before
    assert "done in" in said


def _marked(root: Path) -> list[int]:
    mark = f"R1_UI={root / '.prefect'}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                yield int(folder.name)
        except OSError:
            continue
