"""Numbers of different protocols refuse to stand in one table."""

import pytest

from tasks.evaluation.protocol import Protocol, ProtocolError, common

PROTOCOL = Protocol(
    problems=200, k=16, seed=0, temperature=1.0, top_p=1.0, max_tokens=128, split="final", template="bare",
    template_hash="abc", verifier="v1", sources=["running-sums"],
).model_dump()  # fmt: skip


def test_one_protocol():
    both = {"base": {"protocol": PROTOCOL}, "r1": {"protocol": dict(PROTOCOL)}}
    assert common(both).k == 16
    assert "k = 16" in common(both).words()


@pytest.mark.parametrize("key,value", [("k", 8), ("temperature", 0.6), ("template_hash", "abd"), ("seed", 1)])
def test_mismatch_names_models_and_keys(key, value):
    with pytest.raises(ProtocolError, match=rf"base and r1 .*{key}: .* against {value!r}"):
        common({"base": {"protocol": PROTOCOL}, "r1": {"protocol": PROTOCOL | {key: value}}})


def test_missing_protocol_is_refused():
    with pytest.raises(ProtocolError, match="r1 carry no protocol"):
        common({"base": {"protocol": PROTOCOL}, "r1": {"pass_at_1": 0.9}})
    with pytest.raises(ProtocolError, match="no evaluated model"):
        common({})
