"""The gate before RL: a base whose reasoning does not beat its guesses is stopped with both numbers."""

import pytest

from tasks.rewards import gate
from tasks.sampling.engine import TransformersSettings, open_engine
from tasks.training.settings import Gate


def test_an_untrained_base_is_measured_and_refused(checkpoint, prompts):
    p = Gate(prompts=8, samples=2, min_advantage=0.05)
    result = gate.measure(open_engine(TransformersSettings(), checkpoint), prompts, p, "bare", 24, 1.0, 0)
    assert result["prompts"] == 8 and result["samples"] == 16
    assert 0 <= result["full_cot_share"] <= 1
    with pytest.raises(gate.GateError, match="does not pass the gate.*Train the base longer"):
        gate.require(result | {"full_cot_accuracy": 0.02, "direct_accuracy": 0.04}, p)
    passing = result | {"full_cot_accuracy": 0.4, "direct_accuracy": 0.04}
    assert gate.require(passing, p) == passing


def test_no_validation_prompts_is_an_error(checkpoint):
    with pytest.raises(gate.GateError, match="validation_share"):
        gate.measure(open_engine(TransformersSettings(), checkpoint), [], Gate(), "bare", 24, 1.0, 0)
