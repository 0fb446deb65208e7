"""The procedural families: golds that are right by another route, readable solutions, faults that are faults."""

import re

import pytest

from tasks.prompts import general, judgements
from tasks.prompts import running_sums as sums
from tasks.prompts.templates import render, template_hash
from tasks.responses import parse, reasoning_language_share


def test_golds_equal_the_sum_read_from_the_question_and_stay_in_range():
    for item in sums.problems(11, 400):
        start, *steps = re.findall(r"(?<=Compute )\d+|[+-]\d", item.text)
        totals = [int(start)]
        for step in steps:
            totals.append(totals[-1] + int(step))
        assert item.gold == str(totals[-1])
        assert 3 <= len(steps) <= 5 and all(0 <= t <= sums.LIMIT for t in totals)


def test_solutions_are_in_the_readable_pattern_and_right():
    for item in sums.problems(12, 100):
        response = parse(item.solution)
        assert response.well_formed and response.answer == item.gold
        assert reasoning_language_share(item.solution) == 1.0
        assert "The result is" in response.summary
        assert sums.style(item.solution) == "cot"


def test_problems_are_different_and_a_shorter_list_is_a_prefix():
    long = [i.text for i in sums.problems(5, 300)]
    assert len(set(long)) == 300
    assert [i.text for i in sums.problems(5, 40)] == long[:40]


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("27", "untagged"), ("<think> </think><answer>2</answer>", "direct"),
        ("<think> First A-1 B+3=36. </think><answer>36</answer>", "skip"),
        ("<think> First A-1=33. Wait, let me check again. First A-1=33. </think><answer>33</answer>", "check"),
        ("<think> 首先 A-1=33. </think><answer>33</answer>", "cot"),
    ],
)  # fmt: skip
def test_styles(text, style):
    assert sums.style(text) == style


def test_refiner_changes_words_and_no_number():
    text = "首先 A-1=33. Then B+3=36. 等等，让我再检查一遍。 接着 C-9=27. 很好，结果一致。"
    plain = sums.readable(text)
    assert re.findall(r"[\d=+-]+", plain) == re.findall(r"[\d=+-]+", text)
    assert not re.search(r"[\u4e00-\u9fff]", plain)


def test_general_items_have_a_good_response_and_faults_that_differ():
    items = general.items()
    assert len({i.text for i in items}) == len(items)
    assert {i.domain for i in items} == {"qa", "self", "translation", "writing", "greeting", "safety"}
    for item in items:
        assert item.good and item.good not in item.faulty.values()
        assert ("unsafe" in item.faulty) == (item.domain == "safety")
    assert any(i.cot for i in items) and any(not i.cot for i in items if i.domain == "greeting")


def test_judgements_are_what_they_say():
    pairs = judgements.pairs(1, 400)
    assert all((p.gold == p.prediction) == p.right for p in pairs)
    assert 150 < sum(p.right for p in pairs) < 250
    assert all(int(p.prediction) >= 0 for p in pairs)


def test_templates():
    assert render("bare", "a {question} b") == "User: a {question} b\nAssistant: "
    assert template_hash("bare") != template_hash("r1")
    with pytest.raises(ValueError, match="bare, r1"):
        render("chatml", "x")
