import pytest

from tasks.verification.judge import agreement, judge_prompt, judged, parse_reply, wilson
from tasks.verification.verdict import Verdict


def test_prompt_wording():
    assert judge_prompt("Compute 1 A+2", "3", "4") == "Compute 1 A+2 Gold 3 Given 4"


@pytest.mark.parametrize(
    "reply, status",
    [("ok", "ok"), (" Wrong. ", "wrong"), ("ok wrong", "unparsable"), ("", "unparsable"), ("okay", "unparsable")],
)
def test_replies(reply, status):
    assert parse_reply(reply) == status


def test_the_judges_verdict_keeps_the_rules_extraction():
    rule = Verdict("ok", "3", "3", "maths/fast", "", "v1")
    verdict = judged(rule, "wrong", "abc")
    assert (verdict.status, verdict.method, verdict.extracted, verdict.verifier) == ("wrong", "judge", "3", "abc")


def test_agreement_counts_both_kinds_of_error():
    got = agreement(["ok", "ok", "wrong", "unparsable", "ok"], ["ok", "wrong", "ok", "wrong", "ok"])
    assert got["agreement"] == 3 / 5
    assert got["judge_false_accept"] == 1 / 2 and got["judge_false_reject"] == 1 / 3
    low, high = got["agreement_ci95"]
    assert low < 0.6 < high


def test_agreement_on_nothing_is_no_number():
    assert agreement([], [])["agreement"] is None
    with pytest.raises(ValueError, match="1 judge statuses for 0"):
        agreement(["ok"], [])


def test_wilson_known_value():
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(10, 10)[1] == pytest.approx(1.0) and wilson(0, 10)[0] == pytest.approx(0.0)
