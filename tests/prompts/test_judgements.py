"""The judge is trained and examined on questions that no model is evaluated on."""

from tasks.prompts.judgements import pairs
from tasks.prompts.running_sums import problems
from tasks.prompts.split import held_out


def test_no_question_of_the_final_split_is_among_the_judgements():
    drawn = pairs(5, 2000)
    assert any(held_out(item.text) for item in problems(5, 2000)), "some would have been drawn"
    assert len(drawn) == len({j.question for j in drawn}) == 2000
    assert not any(held_out(j.question) for j in drawn)
    assert 0.45 < sum(j.right for j in drawn) / 2000 < 0.55
    assert all((j.prediction == j.gold) == j.right for j in drawn)
