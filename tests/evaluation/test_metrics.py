"""Metrics on cases computed by hand."""

import pytest

from tasks.evaluation import elicitation, metrics
from tasks.evaluation.metrics import Judged


def row(index, status, extracted, text="<think> A-1=3 then </think> So <answer>3</answer>", tokens=10, finish="stop"):
    return Judged(index, text, tokens, finish, status, extracted)


def test_unbiased_pass_at_k_by_hand():
    assert metrics.unbiased_pass_at_k(4, 1, 1) == pytest.approx(1 / 4)
    assert metrics.unbiased_pass_at_k(4, 1, 2) == pytest.approx(1 / 2)  # 1 - C(3,2)/C(4,2) = 1 - 3/6
    assert metrics.unbiased_pass_at_k(5, 2, 3) == pytest.approx(0.9)  # 1 - C(3,3)/C(5,3) = 1 - 1/10
    assert metrics.unbiased_pass_at_k(5, 0, 5) == 0.0
    with pytest.raises(ValueError, match="pass@5"):
        metrics.unbiased_pass_at_k(4, 1, 5)


def test_infra_is_no_verdict_and_timeout_is_wrong():
    problems = {
        "p": [row(0, "ok", "3"), row(1, "infra", None), row(2, "timeout", "3"), row(3, "wrong", "4")],
        "q": [row(0, "infra", None)],
    }
    assert metrics.pass_at_1(problems) == {"p": pytest.approx(1 / 3)}
    assert metrics.pass_at_k(problems, 3) == {"p": 1.0}
    assert metrics.pass_at_k(problems, 4) == {}
    out = metrics.summary(problems, {"p": "en", "q": "en"}, k=3)
    assert (out["infra"], out["timeouts"], out["problems_without_verdict"]) == (2, 1, 1)


def test_majority_and_its_tie_rule():
    assert metrics.majority([row(0, "wrong", "4"), row(1, "ok", "3"), row(2, "ok", " 3")]).extracted == "3"
    tie = [row(1, "ok", "3"), row(0, "wrong", "4"), row(2, "ok", "3"), row(3, "wrong", "4")]
    assert metrics.majority(tie).extracted == "4"  # sampled first, whatever the order of the rows
    assert metrics.majority([row(0, "unparsable", None)]) is None
    problems = {"tie": tie, "none": [row(0, "unparsable", None)], "infra": [row(0, "infra", "3")]}
    assert metrics.cons_at_k(problems) == {"tie": 0.0, "none": 0.0}


def test_cons_counts_answers_not_correctness():
    three_wrong_ways = [row(0, "wrong", "1"), row(1, "wrong", "2"), row(2, "ok", "3"), row(3, "ok", "3")]
    assert metrics.cons_at_k({"p": three_wrong_ways}) == {"p": 1.0}


def test_language_format_length_truncation():
    mixed = "<think> two plus 二加 </think> So <answer>3</answer>"  # 2 English words, 1 Chinese (two characters)
    pure = "<think> two plus </think> So <answer>3</answer>"
    silent = "<think> 1+2=3 </think> So <answer>3</answer>"
    broken = "3"
    problems = {
        "p": [row(0, "ok", "3", mixed, 20), row(1, "ok", "3", pure, 10)],
        "q": [row(0, "ok", "3", silent, 6), row(1, "unparsable", None, broken, 4, "length")],
    }
    out = metrics.summary(problems, {"p": "en", "q": "en"}, k=2)
    assert out["language_consistency"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)
    assert out["mixed_language_rate"] == 0.5
    assert out["cots_without_words"] == 1
    assert out["format_rate"] == 0.75
    assert out["mean_length"] == 10.0
    assert out["truncation_rate"] == 0.25
    assert out["pass_at_1"] == 0.75 and out["pass_at_k"] == 1.0 and out["cons_at_k"] == 1.0


def test_recheck_reads_the_chain_of_thought_only():
    assert metrics.rechecks("<think> A=3. Wait, again. </think> 3")
    assert metrics.rechecks("<think> 检查 A=3")  # never closed: still thinking
    assert not metrics.rechecks("<think> A=3 </think> check it yourself")
    assert not metrics.rechecks("check: 3")


def test_samples_and_verdicts_must_match():
    sample = {"id": "c1", "prompt_id": "p", "index": 0, "text": "", "tokens": 1, "finish": "stop"}
    verdict = {"completion_id": "c2", "status": "ok", "extracted": None}
    with pytest.raises(ValueError, match="one to one"):
        metrics.judged([sample], [verdict])
    assert metrics.judged([sample], [{**verdict, "completion_id": "c1"}])["p"][0].correct


def test_elicitation_by_style():
    problems = {
        "p": [
            row(0, "ok", "3", "cot"),
            row(1, "ok", "3", "check"),
            row(2, "wrong", "4", "direct"),
            row(3, "infra", None, "cot"),
        ]
    }
    out = elicitation.free(problems, lambda text: text)
    assert out["full_cot_share"] == pytest.approx(2 / 3, abs=1e-6) and out["accuracy_given_full_cot"] == 1.0
    assert out["direct_share"] == pytest.approx(1 / 3, abs=1e-6) and out["accuracy_given_direct"] == 0.0
    assert set(out["styles"]) == {"cot", "check", "direct"}
    assert elicitation.free(problems, None)["full_cot_share"] is None
    assert elicitation.forced("direct", problems)["forced_direct_pass_at_1"] == pytest.approx(2 / 3, abs=1e-6)
