"""Rewards as TRL calls them: lists in, one number or None per completion out."""

import pytest

from tasks.responses import parse
from tasks.rewards import registry
from tasks.rewards.accuracy import Accuracy, accuracy, signed_accuracy
from tasks.rewards.format import Format, format, general_format, strict_format
from tasks.rewards.harmlessness import harmlessness
from tasks.rewards.helpfulness import helpfulness
from tasks.rewards.language import language
from tasks.rewards.monitor import watched
from tasks.rewards.preference import preference
from tasks.rewards.tag_count import tag_count

GOOD = "<think> First A-1=33. </think> The result is 33. <answer>33</answer>"
COLUMNS = {"domain": ["maths"], "gold": ["33"], "meta": ["{}"], "language": ["en"]}


def ask(reward, text, **changes):
    return reward(
        prompts=["q"], completions=[text], completion_ids=[[1]], **COLUMNS | {k: [v] for k, v in changes.items()}
    )[0]


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


def test_a_wrong_answer_can_cost():
    assert ask(signed_accuracy, GOOD) == 1.0
    assert [ask(signed_accuracy, text) for text in (GOOD.replace("33<", "32<"), "33", "")] == [-1.0] * 3
    assert signed_accuracy.lowest == -1.0 and accuracy.lowest == 0.0


def test_the_answer_alone_can_decide():
    untagged = "The answer is \\boxed{33}."
    assert ask(accuracy, untagged) == 0.0
    assert ask(Accuracy(well_formed=False), untagged) == 1.0


def test_a_fault_of_ours_is_no_verdict_and_is_told():
    told = {}
    row = {"domain": "logic", "gold": "33", "meta": "{}"}  # no puzzle: nothing to verify with
    assert ask(lambda **kw: accuracy(**kw, log_infra=told.__setitem__), GOOD, **row) is None
    assert list(told) == [0] and "meta" in told[0]


def test_accuracy_without_its_columns_names_them():
    with pytest.raises(ValueError, match="needs a column `gold`"):
        accuracy(prompts=["q"], completions=[GOOD])


def test_maths_is_the_domain_where_the_dataset_names_none():
    assert accuracy(prompts=["q"], completions=[GOOD], gold=["33"]) == [1.0]
    assert format(prompts=["q"], completions=["33"], gold=["33"]) == [0.0]


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


SUMMARY_BEFORE = "<think>a</think> So 33. <answer>33</answer>"
TEXT_AFTER = "<think>a</think><answer>33</answer> That is all."


@pytest.mark.parametrize(
    ("outside", "wanted"),
    [("around_answer", [1, 1, 1]), ("before_answer", [1, 1, 0]), ("nothing", [1, 0, 0])],
)
def test_text_outside_the_tags(outside, wanted):
    texts = [" <think>a</think>\n<answer>33</answer>\n", SUMMARY_BEFORE, TEXT_AFTER]
    assert [ask(Format(outside=outside), text) for text in texts] == wanted
    assert ask(strict_format, "x" + texts[0]) == 0.0


def test_code_and_instructions_need_the_think_block_but_no_answer_tag():
    for domain in ("code", "instructions"):
        assert ask(format, "<think>a</think> ```python\nprint(1)\n```", domain=domain, gold=None) == 1.0
        assert ask(format, "<think>a</think> <answer>b</answer>", domain=domain, gold=None) == 1.0
        for text in ("print(1)", "<think>a</think> ", "<think>a", "<think>a</think><think>b</think> c"):
            assert ask(format, text, domain=domain, gold=None) == 0.0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (GOOD, 1.0),
        ("<think>a</think>", 0.5),
        ("<think>a<answer>33</answer>", 0.75),
        ("33", 0.0),
        (GOOD + "</think>", 0.75),
    ],
)
def test_tag_count(text, wanted):
    assert ask(tag_count, text) == wanted
    assert ask(tag_count, text, gold=None, domain="qa") is None


def test_tag_count_of_code_counts_the_think_tags():
    assert ask(tag_count, "<think>a</think> b", gold=None, domain="code") == 1.0


def test_a_prefilled_think_tag_is_put_back():
    rest = GOOD.removeprefix("<think>")
    columns = COLUMNS | {"completion_ids": [[1]]}
    for reward in (accuracy, format, tag_count, language):
        assert reward(prompts=["User: q\nAssistant: <think>\n"], completions=[rest], **columns) == [1.0], reward.name
    assert format(prompts=["q <think>"], completions=[GOOD], **columns) == [0.0]  # then it stands twice
    assert ask(format, rest) == 0.0
    assert ask(Format(prefilled=True), rest) == 1.0  # a chat template puts it there, out of sight


def test_conversations_are_read_as_trl_passes_them():
    prompts = [[{"role": "user", "content": "q"}]]
    answers = [[{"role": "assistant", "content": GOOD}]]
    parts = [[{"role": "assistant", "content": [{"type": "text", "text": GOOD}]}]]
    for completions in (answers, parts):
        assert accuracy(prompts=prompts, completions=completions, **COLUMNS) == [1.0]
    assert format(prompts=prompts, completions=[[{"role": "assistant", "content": None}]], **COLUMNS) == [0.0]


def test_language_share_counts_words_of_the_chain_of_thought_alone():
    mixed = "<think> First A-1=33. 然后 B+3=36. </think> The result is 36. <answer>36</answer>"
    assert ask(language, mixed) == pytest.approx(0.5)  # First | 然后
    assert ask(language, GOOD) == 1.0
    assert ask(language, GOOD, language="zh") == 0.0
    assert ask(language, "<think> </think><answer>33</answer>") == 0.0
    assert ask(language, "Paris.", gold=None) is None


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


def test_helpfulness_and_harmlessness_stand_alone():
    columns = {"prompts": ["p", "p"], "domain": ["qa", "safety"], "gold": [None, None]}
    texts = ["<think> a </think> b", "<think> a </think> b"]
    length = lambda pairs: [float(len(response)) for _, response in pairs]
    assert helpfulness(length)(completions=texts, **columns) == [pytest.approx(1 / (1 + 2.718281828**-1)), None]
    assert harmlessness(lambda pairs: [0.0 for _ in pairs])(completions=texts, **columns) == [None, 0.5]


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
    assert registry.load("accuracy", wrong=-1) == signed_accuracy
