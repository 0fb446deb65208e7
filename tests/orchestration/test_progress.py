"""How far a stage is: rates, time left, phases, and the line people read."""

import itertools
import json

import pytest

from flows.orchestration import progress
from flows.orchestration.progress import Progress, parts


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves ten seconds at every look."""
    ticks = itertools.count(0, 10)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))


def test_rates_and_time_left_are_of_what_this_process_did(clock, tmp_path, monkeypatch):
    monkeypatch.setenv("R1_PROGRESS", str(tmp_path / "p.json"))
    told = Progress("r1_zero")
    told(40, 100, tokens=900, note="reward 0.1")  # resumed: 40 steps were another process's
    assert (told.latest["rate"], told.latest["tokens_per_s"], told.latest["left"]) == (None, None, None)
    told(60, 100, tokens=4_900, note="reward 0.2")
    assert told.line() == "r1_zero · 60% · 60/100 steps · 2.0 steps/s · 400 tokens/s · 20 s left · reward 0.2"
    assert json.loads((tmp_path / "p.json").read_text()) == told.latest
    told(100, 100, tokens=8_900)
    assert told.latest["left"] is None and json.loads((tmp_path / "p.json").read_text())["done"] == 100


def test_a_new_phase_begins_anew(clock):
    told = Progress("verdicts")
    told(1, 10, "verdicts", point={"step": 1})
    told(9, 10, "verdicts", point={"step": 2})
    told(1, 10, "judgements", tokens=5, point={"step": 3})
    assert told.latest["rate"] is None and told.points == [{"step": 3}]
    told(2, 10, "judgements", tokens=5)
    assert told.latest["rate"] == 0.1 and told.latest["tokens_per_s"] is None


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"done": 0, "total": 0, "unit": "steps", "note": "waits for the GPU"}, ["waits for the GPU"]),
        ({"done": 1, "total": 4, "unit": "steps", "rate": 0.004}, ["25%", "1/4 steps", "4 min 10 s/step"]),
        ({"done": 1, "total": 4, "unit": "steps", "rate": 0.4}, ["25%", "1/4 steps", "2.5 s/step"]),
        (
            {"done": 5e5, "total": 1e6, "unit": "tokens", "rate": 5310.4, "tokens_per_s": 5310.4, "left": 94},
            ["50%", "500,000/1,000,000 tokens", "5,310 tokens/s", "1 min 34 s left"],
        ),
    ],
)
def test_parts(seen, words):
    assert parts(seen) == words


def test_points_stay_few(clock):
    told = Progress("base")
    for step in range(3 * progress.POINTS):
        told(step, 10**6, point={"step": step})
    assert progress.POINTS / 2 <= len(told.points) <= progress.POINTS and told.points[0]["step"] < 4
