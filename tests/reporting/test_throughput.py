"""What RL steps took: from the progress of a stage into the run book, and from there onto the page."""

import base64
from types import SimpleNamespace

import pytest

from flows.orchestration import page, run_book
from flows.orchestration.progress import Progress
from tasks.reporting import sources, tables, throughput

STEPS = [
    {"step": 1, "seconds": 2.0, "rollout": 1.0, "reward": 0.5, "training": 0.5, "tokens": 100, "tokens_per_second": 50.0, "idle_share": None},
    {"step": 2, "seconds": 4.0, "rollout": 1.0, "reward": 0.5, "training": 2.5, "tokens": 200, "tokens_per_second": 50.0, "idle_share": 0.5},
]  # fmt: skip


@pytest.fixture
def book(tmp_path):
    """The run books of a folder in which r1_zero told of two steps and dev1 of none."""
    for stage, steps in (("r1_zero", STEPS), ("dev1", [])):
        told = Progress(stage)
        told(1, 2)
        told(2, 2, timings=steps)
        node = SimpleNamespace(stage=stage, gpu=False, code=[], outs={})
        run = SimpleNamespace(root=tmp_path, stage=stage, node=node, threads=1, progress=told)
        run_book.RunBook(tmp_path, node).write(run, False, 0)
    return sources.read_run_book(tmp_path / "work" / "runs")


def test_the_run_book_has_shares_and_every_step(book):
    assert book["r1_zero"]["throughput"] == {
        "steps": 2, "seconds_per_step": 3.0, "tokens_per_second": 50.0, "rollout_share": 0.3333, "reward_share": 0.1667,
        "training_share": 0.5,
    }  # fmt: skip
    assert book["r1_zero"]["steps"] == {key: [s[key] for s in STEPS] for key in STEPS[0]}
    assert "throughput" not in book["dev1"] and "steps" not in book["dev1"]


def test_a_page_shows_them(book):
    table = tables.throughput(book, ["dev1", "r1_zero"])
    assert table.rows == (("r1_zero", "2", "3.00", "50", "33.3", "16.7", "50.0"),)
    drawn = throughput.draw({"r1_zero": book["r1_zero"]["steps"]})
    assert drawn.startswith("<svg") and ">r1_zero<" in drawn and drawn.count("<polygon") == 3
    assert throughput.draw({}) == ""


def test_prefect_is_shown_them_as_they_come():
    node = SimpleNamespace(stage="r1_zero")
    shown = page.throughput(node, STEPS)
    assert (shown.key, shown.type) == ("throughput", "markdown") and "r1_zero: seconds of each step" in shown.data
    drawn = base64.b64decode(shown.data.partition("base64,")[2].partition(")")[0]).decode()
    assert all(f">{name}: " in drawn for name in ("tokens per second", "seconds", "rollout", "reward", "training"))
    assert page.throughput(node, []) is None


def test_long_runs_are_drawn_as_means():
    steps = 10 * throughput.POINTS
    columns = {
        key: [float(i + 1) for i in range(steps)]
        for key in ("step", "seconds", "rollout", "reward", "training", "tokens_per_second")
    }
    drawn = throughput.draw({"r1_zero": columns})
    assert drawn.partition('points="')[2].partition('"')[0].count(",") == throughput.POINTS
