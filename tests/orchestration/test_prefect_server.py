"""Under a real Prefect server: one flow run with nested stage runs; and when the server dies, the work does not."""

import json
import time

from flows.orchestration import run_book, tracked
from tests.toy.project import until


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
    assert {"metrics-numbers", "metrics-grow-oak", "curve-grow-oak", "r1-stages", "r1-dag"} <= set(kept)
    assert {"metric": "rows", "value": 20} in json.loads(kept["metrics-numbers"]["data"])
    of_oak = {key for key, artifact in kept.items() if artifact["flow_run_id"] == stages["grow@oak"]["id"]}
    assert of_oak == {f"{kind}-grow-oak" for kind in ("progress", "metrics", "curve", "lineage")}, (
        "on the stage's own page"
    )
    lineage = kept["lineage-grow-oak"]["data"]
    assert f"| [numbers](/artifacts/artifact/{kept['lineage-numbers']['id']}) |" in lineage
    assert f"{run_book.identity(toy.root / 'data/03_grow/oak')}  data/03_grow/oak/manifest.json" in lineage
    assert stages["grow@oak"]["parameters"] == {"seed": 3, "threads": 1, "grow.plants.oak": {"steps": 3}}
    # A stage run by hand is a flow run of its own; a fresh pipeline needs none.
    toy.set("grow.plants.fir.fail_at", None)
    toy.dvc("repro", "grow@fir", **server.env)
    mine = [r for r in server.ask("flow_runs") if r["name"] == "grow@fir" and r["state_type"] == "COMPLETED"]
    assert len(mine) == 1 and mine[0]["parent_task_run_id"] is None and "via:dvc" in mine[0]["tags"]
    before = len(server.ask("flow_runs"))
    assert "up to date" in toy.r1("run", "grow@fir", **server.env)
    assert len(server.ask("flow_runs")) == before


def test_a_server_without_time_is_told_later_and_nothing_is_missing_from_its_page(toy, server, door):
    """Its SQLite is locked for longer than anybody asks again: the stage that begins meanwhile is found where it belongs."""
    door.busy("POST /api/task_runs/ ", seconds=2 * sum(tracked.AGAIN))
    said = toy.r1("run", "grow@oak", **door.env)
    assert "does not answer (task_runs/: HTTP 503" in said, "else nothing was tried here"
    runs, tasks = server.ask("flow_runs"), {t["id"]: t for t in server.ask("task_runs")}
    pipeline = next(r for r in runs if r["parent_task_run_id"] is None)
    nested = {r["name"]: tasks[r["parent_task_run_id"]] for r in runs if r["parent_task_run_id"]}
    assert set(nested) == {"numbers", "grow@oak"}
    for stage, link in nested.items():
        (above,) = link["task_inputs"]["__parents__"]
        assert (tasks[above["id"]]["name"], link["flow_run_id"]) == (stage, pipeline["id"])
        assert tasks[above["id"]]["state_name"] == "Completed"
    assert [t["name"] for t in tasks.values()].count("numbers") == 1


def test_a_running_stage_shows_itself_and_a_server_that_hangs_does_not_hold_it_up(sown, server, door):
    toy = sown
    toy.set("grow.plants.oak", {"steps": 50, "seconds": 0.3})
    run = toy.start(*toy.stage_command("grow", "oak"), **door.env)
    shown = until(lambda: [a for a in server.ask("artifacts") if a["key"] == "progress-grow-oak"], 90, "progress")[0]
    flow_run = next(r for r in server.ask("flow_runs") if r["id"] == shown["flow_run_id"])
    assert (flow_run["name"], flow_run["state_type"]) == ("grow@oak", "RUNNING") and run.poll() is None, "while it runs"
    assert (
        0 < shown["data"] < 100 and "/50 steps · " in shown["description"] and " left · height " in shown["description"]
    )
    said = server.logs(flow_run["id"], "[grow@oak] from step 0")
    assert run.poll() is None and any("[grow@oak] from step 0" in line for line in said), "logs while it runs"
    until(lambda: toy_steps(toy) >= 45, 60, "the last steps")
    door.freeze()
    frozen = time.monotonic()
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 0 and toy.has("data/03_grow/oak/manifest.json"), out
    assert time.monotonic() - frozen < 60, out


def toy_steps(toy) -> int:
    return max((len(json.loads(p.read_text())) for p in (toy.root / "work/grow@oak").glob("*/state.json")), default=0)


def test_a_server_that_dies_takes_no_work_with_it(toy, door):
    toy.set("grow.plants.oak", {"steps": 40, "seconds": 0.2})
    run = toy.start(*toy.r1_command("run", "--jobs", "2"), **door.env)
    until(lambda: list((toy.root / "work/grow@oak").glob("*/state.json")), 90, "the first step")
    door.shut()
    killed = time.monotonic()
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert "4 Completed in" in said and toy.has("report/report.md")
    assert time.monotonic() - killed < 90, "no waiting for a server that is gone"
    assert "All 4 stages are up to date" in toy.r1("run", **door.env)
