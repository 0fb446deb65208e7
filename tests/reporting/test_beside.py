"""Runs side by side: same recipe and protocol but for the seed, or a refusal that names the key."""

import copy

import pytest

from tasks.reporting import beside


def run(seed, score):
    model = {"model": "r1", "label": "R1", "pass_at_1": score, "pass_at_1_ci95": [score - 0.01, score + 0.01], "cons_at_k": 1.0}
    gap = {"label": "R1 − R1-Zero", "difference": 0.02, "ci95": [0.01, 0.03]}
    return {
        "recipe": "cpu", "seed": seed, "protocol": {"k": 16, "seed": seed, "split": "final"}, "models": [model],
        "differences": [gap], "students": [], "expectations": [{"expectation": "R1 high", "value": f"{score}", "met": score > 0.5}],
    }  # fmt: skip


def test_one_column_per_run():
    runs = [run(0, 0.96), run(1, 0.4)]
    assert beside.scores(runs).rows == (("R1", "96.0 [95.0, 97.0] / 100.0", "40.0 [39.0, 41.0] / 100.0"),)
    assert beside.scores(runs).header[1:] == ("seed 0", "seed 1")
    assert beside.differences(runs).rows[0][0] == "R1 − R1-Zero" and "+2.0" in beside.differences(runs).rows[0][2]
    assert [c.startswith("met") for c in beside.expectations(runs).rows[0][1:]] == [True, False]


def test_another_protocol_is_refused():
    other = copy.deepcopy(run(1, 0.9))
    other["protocol"]["k"] = 4
    with pytest.raises(beside.NotComparable, match="k: 16 against 4"):
        beside.scores([run(0, 0.9), other])
