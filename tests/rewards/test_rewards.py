"""Rewards as TRL calls them: lists in, one number or None per completion out."""

import pytest

from tasks.responses import language_share, parse
from tasks.rewards import registry
from tasks.rewards.accuracy import accuracy
from tasks.rewards.format import format, general_format
from tasks.rewards.language import language
from tasks.rewards.monitor import watched
from tasks.rewards.preference import preference

GOOD = "<think> First A-1=33. </think> The result is 33. <answer>33</answer>"
COLUMNS = {"domain": ["maths"], "gold": ["33"], "meta": ["{}"], "language": ["en"]}


def ask(reward, text, **changes):
    return reward(prompts=["q"], completions=[text], completion_ids=[[1]], **COLUMNS | {k: [v] for k, v in changes.items()})[0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (GOOD, 1.0),
        (GOOD.replace("33<", "32<"), 0.0),
        ("33", 0.0),
        ("<think> First A-1=33. <answer>33</answer>", 0.0),  # right, but badly formed
        (GOOD + "<answer>33</answer>", 0.0),
        ("", 0.0),
    ],
)
def test_accuracy(text, wanted):
    assert ask(accuracy, text) == wanted


def test_no_gold_is_no_verdict_rather_than_zero():
    assert ask(accuracy, GOOD, gold=None, domain="qa") is None


def test_an_infrastructure_failure_is_no_verdict(monkeypatch):
    import importlib

    from tasks.verification.verdict import Verdict

    module = importlib.import_module("tasks.rewards.accuracy")
    monkeypatch.setattr(module, "verify", lambda prompt, text: Verdict("infra", None, "33", "x", "worker died", "v"))
    assert ask(accuracy, GOOD) is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (GOOD, True), ("<think> </think><answer>1</answer>", True), ("<answer>1</answer>", False),
        ("<think>a</think><think>b</think><answer>1</answer>", False), ("x <think>a</think><answer>1</answer>", False),
        ("<think>a</think>", False), ("<think>a<answer>1</answer></think>", False),
    ],
)  # fmt: skip
def test_format(text, wanted):
    assert parse(text).well_formed is wanted
    assert ask(format, text) == float(wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("Paris.", True), ("<think> a </think> Paris.", True), ("", False), ("<think> a </think> ", False), ("<think> Paris.", False),
     ("<think> a </think> Paris. </think>", False)],
)  # fmt: skip
def test_general_prompts_need_no_answer_tag(text, wanted):
    assert general_format(text) is wanted
    assert ask(format, text, gold=None) == float(wanted)


def test_language_share_counts_words_of_the_chain_of_thought_alone():
    mixed = "<think> First A-1=33. 然后 B+3=36. </think> The result is 36. <answer>36</answer>"
    assert ask(language, mixed) == pytest.approx(0.5)  # First | 然后
    assert ask(language, GOOD) == 1.0
    assert ask(language, GOOD, language="zh") == 0.0
    assert ask(language, "<think> </think><answer>33</answer>") == 0.0
    assert ask(language, "Paris.", gold=None) is None
    assert language_share("A-1 B+2 33") is None


def test_helpfulness_sees_the_summary_and_harmlessness_the_whole_response():
    seen = {"helpful": [], "safe": []}

    def scorer(name):
        return lambda pairs: seen[name].extend(pairs) or [0.0] * len(pairs)

    text = "<think> secret reasoning </think> Final words."
    reward = preference(scorer("helpful"), scorer("safe"))
    columns = {"domain": ["writing", "safety", "maths"], "gold": [None, None, "33"]}
    assert reward(prompts=["p1", "p2", "p3"], completions=[text, text, GOOD], **columns) == [0.5, 0.5, None]
    assert seen == {"helpful": [("p1", "Final words.")], "safe": [("p2", text)]}
    assert reward.__name__ == "preference"


def test_a_watched_reward_is_the_same_reward_and_logs():
    logged = {}
    reward = watched(accuracy)
    text = GOOD.replace("</think>", "Wait, let me check again. </think>")
    assert reward.__name__ == "accuracy"
    assert ask(lambda **kw: reward(**kw, log_metric=logged.__setitem__), text) == 1.0
    assert logged == {"monitor/language": 1.0, "monitor/recheck": 1.0}


def test_unknown_reward_names_the_known_ones():
    with pytest.raises(ValueError, match="accuracy, format, language"):
        registry.load("acuracy")
