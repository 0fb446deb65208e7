"""Length, cosine, overlong and repetition against their formulas, and against TRL's own where TRL has one."""

import math
import random

import pytest
from pydantic import ValidationError

from tasks.rewards.cosine import Cosine, cosine
from tasks.rewards.length import Length
from tasks.rewards.overlong import Overlong
from tasks.rewards.repetition import Repetition

RIGHT, WRONG = "<think> a </think> <answer>3</answer>", "<think> a </think> <answer>4</answer>"


def ids(*lengths):
    return [[1] * n for n in lengths]


def test_length_costs_nothing_up_to_the_limit_and_falls_on_a_line():
    given = Length(limit=100, over=50)(["q"] * 5, ["a"] * 5, completion_ids=ids(0, 100, 110, 150, 9999))
    assert given == [0.0, 0.0, pytest.approx(-0.2), -1.0, -1.0]


@pytest.mark.parametrize("length", [0, 1, 7, 500, 999])
def test_cosine_is_its_formula(length):
    p = Cosine(max_tokens=1000)
    for text, start, end in ((RIGHT, 2, 1), (WRONG, -10, 0)):
        wanted = end + 0.5 * (start - end) * (1 + math.cos(math.pi * length / 1000))
        assert p(["q"], [text], completion_ids=ids(length), gold=["3"]) == [pytest.approx(wanted)]


def test_cosine_ends_and_limit():
    assert [cosine.value(True, 0), cosine.value(False, 0)] == [2.0, -10.0]
    assert cosine.value(True, 4096) == cosine.value(False, 5000) == -10.0
    assert cosine(["q"], ["Paris"], completion_ids=ids(3), gold=[None], domain=["qa"], meta=[None]) == [None]


def test_cosine_where_a_wrong_answer_pays_as_much_is_refused():
    with pytest.raises(ValidationError, match="a wrong answer of some length"):
        Cosine(wrong_long=1.5)


def test_overlong_is_dapos_equation_as_trl_has_it():
    from trl.rewards import get_soft_overlong_punishment

    completion_ids = ids(*range(0, 140, 3))
    ours = Overlong(max_tokens=100, buffer=20)(
        ["q"] * len(completion_ids), ["a"] * len(completion_ids), completion_ids=completion_ids
    )
    assert ours == pytest.approx(get_soft_overlong_punishment(100, 20)(completion_ids))
    assert min(ours) == -1.0 and max(ours) == 0.0 and any(-1 < x < 0 for x in ours)


def test_overlong_buffer_must_fit():
    with pytest.raises(ValidationError, match="buffer is more than max_tokens"):
        Overlong(max_tokens=10, buffer=11)


def test_repetition_is_trls():
    from trl.rewards import get_repetition_penalty_reward

    rng = random.Random(0)
    completion_ids = [[rng.randrange(4) for _ in range(n)] for n in range(0, 60, 2)]
    ours = Repetition(n=3, max_penalty=0.5)(["q"] * 30, ["a"] * 30, completion_ids=completion_ids)
    assert ours == pytest.approx(get_repetition_penalty_reward(3, -0.5)(completion_ids))
    assert min(ours) < -0.1


def test_repetition_counts_words_where_there_are_no_tokens():
    looped, fresh = "again and again " * 40, " ".join(map(str, range(120)))
    assert Repetition()(["q", "q"], [looped, fresh]) == [pytest.approx(-78 / 81), 0.0]


@pytest.mark.parametrize("reward", [Length(), Overlong(), cosine])
def test_a_length_without_tokens_is_an_error(reward):
    with pytest.raises(ValueError, match="needs `completion_ids`"):
        reward(["q"], [RIGHT], gold=["3"])
