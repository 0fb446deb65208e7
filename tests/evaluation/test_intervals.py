"""The bootstrap: seeded, covers the truth about as often as it says, pairs by problem."""

import numpy as np
import pytest

from tasks.evaluation.intervals import ci95, paired_difference


def test_same_seed_same_interval_and_constant_has_none():
    values = [0.0, 1.0, 0.5, 0.25]
    assert ci95(values, seed=3) == ci95(values, seed=3)
    assert ci95(values, seed=3) != ci95(values, seed=4)
    assert ci95([0.5] * 10) == [0.5, 0.5]
    with pytest.raises(ValueError, match="at least one problem"):
        ci95([])


def test_coverage_is_near_95_percent():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        low, high = ci95(rng.binomial(16, 0.3, size=100) / 16, seed=trial, resamples=400)
        hits += low <= 0.3 <= high
    assert 0.90 <= hits / 300 <= 0.985


def test_chunks_do_not_change_the_draws(monkeypatch):
    from tasks.evaluation import intervals

    values = list(np.random.default_rng(1).random(50))
    whole = ci95(values)
    monkeypatch.setattr(intervals, "_CHUNK", 1000)
    assert ci95(values) == whole


def test_paired_is_tighter_than_unpaired_and_pairs_by_problem():
    rng = np.random.default_rng(2)
    hard = rng.random(200)
    a = {f"p{i}": float(h) + 0.03 for i, h in enumerate(hard)}
    b = dict(reversed({f"p{i}": float(h) for i, h in enumerate(hard)}.items()))
    out = paired_difference(a, b)
    assert out["difference"] == pytest.approx(0.03, abs=1e-6)
    assert out["ci95"] == pytest.approx([0.03, 0.03], abs=1e-5)
    del b["p7"]
    assert (paired_difference(a, b)["problems"], paired_difference(a, b)["left_out"]) == (199, 1)
    with pytest.raises(ValueError, match="share none"):
        paired_difference({"x": 1.0}, {"y": 1.0})
