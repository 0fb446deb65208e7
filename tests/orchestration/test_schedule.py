"""What starts first, and how long it will take."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flows.orchestration import pools, schedule
from flows.orchestration.child import Children
from flows.orchestration.dag import Dag, Node, load_dag
from flows.orchestration.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]


def _dag(**needs: str) -> Dag:
    blank = {"item": None, "cmd": "", "desc": "", "params": (), "metrics": (), "plots": (), "meta": {}}
    return Dag(Node(stage=s, name=s, deps=tuple(d.split()), outs=(s,), **blank) for s, d in needs.items())


def test_the_critical_path_starts_first_and_evaluation_last(tmp_path):
    dag = load_dag(ROOT)
    pipeline = Pipeline(tmp_path, dag, list(dag.nodes), set(dag.nodes), 2, Children(tmp_path, 1))
    assert pipeline._startable() == ["base", "prompts"]
    for done in ("base", "prompts", "non_reasoning", "preferences"):
        pipeline.todo.remove(done)
    ready = pipeline._startable()
    assert ready[0] == "r1_zero" and "evaluate@base" not in ready


def test_estimates_come_from_the_run_book_then_from_a_sister_then_from_a_guess(tmp_path):
    dag = load_dag(ROOT)
    (tmp_path / "work/runs").mkdir(parents=True)
    for stage, seconds, resumed in (("distill@qwen", 40.0, False), ("base", 1.0, True)):
        (tmp_path / f"work/runs/{stage}.json").write_text(json.dumps({"seconds": seconds, "resumed": resumed}))
    seconds = schedule.estimates(tmp_path, dag)
    assert seconds["distill@qwen"] == seconds["distill@llama"] == 40 + schedule.START
    assert seconds["base"] == schedule.FIRST_GUESS["base"] + schedule.START, (
        "a resumed run says nothing about a whole one"
    )


@pytest.mark.parametrize(("jobs", "expected"), [(1, 60.0), (2, 40.0), (3, 40.0)])
def test_time_left_plays_the_schedule(jobs, expected):
    dag = _dag(a="", b="a", c="", d="")
    assert (
        schedule.time_left(dag, {"a", "b", "c", "d"}, {}, {"a": 20.0, "b": 20.0, "c": 10.0, "d": 10.0}, jobs)
        == expected
    )


def test_time_left_counts_what_is_running():
    dag = _dag(a="", b="a")
    assert schedule.time_left(dag, {"b"}, {"a": 5.0}, {"a": 20.0, "b": 20.0}, 2) == 25.0
    assert schedule.time_left(dag, set(), {}, {"a": 20.0, "b": 20.0}, 2) == 0.0


def test_a_gpu_takes_one_stage_at_a_time(tmp_path):
    dag = load_dag(ROOT)
    pipeline = Pipeline(tmp_path, dag, list(dag.nodes), set(), 8, Children(tmp_path, 1))
    pipeline.gpus = 1
    pipeline.todo = {"r1_zero", "evaluate@base", "student_base@qwen"}
    assert pipeline._startable() == ["r1_zero", "student_base@qwen"]
    pipeline.gpus = 2
    assert set(pipeline._startable()) == {"r1_zero", "evaluate@base", "student_base@qwen"}


def test_a_stage_that_another_machine_builds_takes_no_place_and_no_accelerator_here(tmp_path, monkeypatch):
    dag = load_dag(ROOT)
    for stage in ("r1_zero", "evaluate@base"):
        dag.nodes[stage] = replace(dag[stage], meta={"prefect": {"pool": "big", "gpu": True}})
    pipeline = Pipeline(tmp_path, dag, list(dag.nodes), set(), 1, Children(tmp_path, 1))
    pipeline.gpus, pipeline.todo = 1, {"r1_zero", "evaluate@base", "student_base@qwen"}
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.delenv(pools.WORKER, raising=False)
    monkeypatch.delenv(pools.HERE, raising=False)
    assert set(pipeline._startable()) == {"r1_zero", "evaluate@base", "student_base@qwen"}
    pipeline.running, pipeline.todo = {"r1_zero": 0.0}, {"student_base@qwen"}
    assert pipeline._startable() == ["student_base@qwen"]
    monkeypatch.setenv(pools.HERE, "off")
    assert pipeline._startable() == [], "built here, it takes both"


def test_every_stage_that_puts_a_model_on_the_accelerator_takes_one():
    """Found by its code: whatever asks torch for CUDA, but for the map that only counts what a Ray task may take."""
    users = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tasks").rglob("*.py") if "torch.cuda" in p.read_text()}
    loaders = users - {"tasks/execution.py"}
    assert {"tasks/sampling/policy.py", "tasks/training/trainer.py"} <= loaders
    unguarded = [n.stage for n in load_dag(ROOT).nodes.values() if loaders & set(n.code) and not n.gpu]
    assert not unguarded, "add `meta: {prefect: {gpu: true}}` in dvc.yaml"
