"""Weights, gates and faults: the sum of a stage's rewards as TRL forms it."""

import pytest
from pydantic import ValidationError

from tasks.rewards import registry
from tasks.rewards.composition import InfraError, compose
from tasks.rewards.registry import KNOWN, Rewards
from tasks.rewards.reinforcement import curve_of_terms, named_rewards

GOOD = "<think> First. </think> <answer>33</answer>"
WRONG = GOOD.replace("33", "32")
BARE = "33"


def composed(**rewards):
    return compose(Rewards.model_validate(rewards))


def columns(count, **more):
    shared = {"prompts": ["q"] * count, "domain": ["maths"] * count, "gold": ["33"] * count, "meta": ["{}"] * count}
    return shared | {"language": ["en"] * count, "completion_ids": [[1, 2, 3]] * count} | more


def sums(composition, texts, **more):
    values, _ = composition.evaluate(completions=texts, **columns(len(texts), **more))
    return values, composition.totals(values)


def test_a_number_is_a_weight_and_the_order_in_the_file_does_not_count():
    a, b = composed(accuracy=1.0, format=0.1, language=0.2), composed(language={"weight": 0.2}, format=0.1, accuracy=1)
    assert list(a.terms) == list(b.terms) == ["accuracy", "format", "language"]
    assert a.weights == b.weights == {"accuracy": 1.0, "format": 0.1, "language": 0.2}
    values, totals = sums(a, [GOOD, WRONG, BARE])
    assert values == {"accuracy": [1.0, 0.0, 0.0], "format": [1.0, 1.0, 0.0], "language": [1.0, 1.0, 0.0]}
    assert totals == pytest.approx([1.3, 0.3, 0.0])


def test_a_gate_shuts_a_reward_off_without_full_marks_in_another():
    gated = composed(
        accuracy={"wrong": -1, "well_formed": False, "only_with": ["format"]},
        format=0.0,
        language={"only_with": ["accuracy"]},
    )
    values, _ = sums(gated, [GOOD, WRONG, "\\boxed{33}"])
    assert values["accuracy"] == [1.0, -1.0, -1.0]  # the last one is right, and badly formed
    assert values["language"] == [1.0, 0.0, 0.0]  # by the verdict, before any gate


def test_a_gate_looks_at_the_ungated_value():
    chain = composed(
        accuracy={"well_formed": False, "only_with": ["format"]}, format=1.0, tag_count={"only_with": ["accuracy"]}
    )
    values, _ = sums(chain, ["<think> a </think> \\boxed{33}"])
    assert values["accuracy"] == [0.0] and values["tag_count"] == [0.5]


def test_none_stays_none_behind_a_gate():
    values, totals = sums(
        composed(accuracy={"only_with": ["format"]}, format=1.0), ["Paris.", ""], domain=["qa"] * 2, gold=[None] * 2
    )
    assert values == {"accuracy": [None, None], "format": [1.0, 0.0]} and totals == [1.0, 0.0]


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        ({"acuracy": 1.0}, "acuracy"),
        ({}, f"names no reward; known: {', '.join(KNOWN)}"),
        ({"accuracy": None}, "accuracy is null, which stands for `not published`"),
        ({"accuracy": float("nan")}, "finite"),
        ({"accuracy": "high"}, "accuracy"),
        ({"accuracy": True}, "accuracy"),
        ({"accuracy": {"only_with": ["format"]}}, "accuracy.only_with names 'format', which is no other reward"),
        ({"accuracy": {"only_with": ["accuracy"]}}, "no other reward"),
        ({"accuracy": {"wrong": -2}}, "-1"),
        ({"accuracy": 1.0, "length": {"limt": 3}}, "limt"),
        ({"judge": 1.0}, "judge.endpoint is missing"),
        ({"accuracy": 1.0, "max_infra_share": 1.5}, "max_infra_share"),
    ],
)
def test_what_the_settings_refuse(rewards, said):
    with pytest.raises(ValidationError, match=None) as refused:
        Rewards.model_validate(rewards)
    assert said in str(refused.value)


def test_every_known_reward_is_a_field_of_the_settings():
    assert set(KNOWN) == {name for name in Rewards.model_fields if name != "max_infra_share"}
    for name, reward in KNOWN.items():
        assert registry.load(name).name == registry.load(name).__name__ == name and reward.__doc__


def test_the_functions_share_one_evaluation_of_a_batch(monkeypatch):
    composition = composed(accuracy=1.0, format={"weight": 0.5, "only_with": ["accuracy"]})
    calls = []
    evaluate = type(composition).evaluate
    monkeypatch.setattr(type(composition), "evaluate", lambda self, *a, **k: calls.append(1) or evaluate(self, *a, **k))
    functions = composition.functions()
    logged = {}
    for texts in ([GOOD, WRONG], [WRONG, GOOD]):
        for name, (function, _) in functions.items():
            assert function.__name__ == name
            values = function(completions=texts, **columns(2), log_metric=logged.__setitem__)
            assert values == [float(t == GOOD) for t in texts]
    assert len(calls) == 2
    assert logged == {"gate/format_lowest": 0.5}


FAULTY = {"domain": ["logic"] * 4, "meta": ["{}"] * 4}  # no puzzle in `meta`: the verifier cannot do its work


def test_a_completion_without_verdict_gets_no_reward_at_all():
    mixed = {"domain": ["maths", "logic"], "meta": ["{}", "{}"]}
    values, faults = composed(accuracy=1.0, format=0.1).evaluate(completions=[GOOD, GOOD], **columns(2, **mixed))
    assert values == {"accuracy": [1.0, None], "format": [1.0, None]}
    assert list(faults) == [1] and "puzzle" in faults[1]


def test_a_stage_stops_where_too_many_have_no_verdict():
    function, _ = composed(accuracy=1.0, format=0.1).functions()["accuracy"]
    texts = [GOOD, WRONG, BARE, GOOD + " "]
    with pytest.raises(
        InfraError, match=r"4 of the last 4 completions .* 100.0% where rewards.max_infra_share allows 5.0%: .*puzzle"
    ):
        function(completions=texts, **columns(4, **FAULTY))


def test_a_few_faults_are_borne_and_a_share_is_not():
    function, _ = composed(accuracy=1.0, max_infra_share=0.25).functions()["accuracy"]
    one_in_four = {"domain": ["logic", "maths", "maths", "maths"]}
    for i in range(200):
        text = f"{GOOD} {i}"
        assert function(completions=[text] * 4, **columns(4, **one_in_four))[0] is None
    with pytest.raises(InfraError, match="of the last 512 completions"):
        for i in range(200):
            function(completions=[f"{GOOD} {i} again"] * 4, **columns(4, domain=["logic", "logic", "maths", "maths"]))


def test_named_rewards_takes_numbers_settings_or_a_composition():
    plain = {"accuracy": 1.0, "format": 0.5}
    for given in (plain, Rewards.model_validate(plain), composed(**plain)):
        named = named_rewards(given)
        assert [(name, weight) for name, (_, weight) in named.items()] == [("accuracy", 1.0), ("format", 0.5)]
        assert [f.__name__ for f, _ in named.values()] == ["accuracy", "format"]


def test_every_reward_has_a_curve():
    named = named_rewards({"accuracy": 1.0, "format": 0.1, "language": 0.2, "tag_count": 0.1})
    entry = {"rewards/accuracy/mean": 0.5, "rewards/language/mean": 0.9, "rewards/tag_count/mean": float("nan")}
    assert curve_of_terms(entry, named) == {"reward_language": 0.9, "reward_tag_count": None}
