import random
import time

import pytest

from tasks.verification.answers import NoAnswer, boxed, fast, final_answer, normalise


@pytest.mark.parametrize(
    "text, answer",
    [
        ("<think> 1 </think> so <answer> 47 </answer>", "47"),
        ("<answer>7</answer> again <answer>7</answer>", "7"),
        ("<answer>\\boxed{12}</answer>", "12"),
        ("first \\boxed{7} then \\boxed{12}", "12"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
        ("<think> a </think> b </think> <answer>3</answer>", "3"),
        ("<think> \\boxed{1} </think> \\boxed{2}", "2"),
        ("<answer> <answer>5</answer>", "5"),
        ("<answer>5\n5.</answer>", "5."),
        ("<answer>\\[\n5\n\\]</answer>", "5"),
        ("\\boxed{1} { \\boxed{2 \\boxed{3}}", "3"),
    ],
)
def test_final_answer(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    "text, why",
    [
        ("The answer is 47.", "no closed answer tag"),
        ("<answer>47", "no closed answer tag"),
        ("<think> so <answer>47</answer>", "never closes"),
        ("<think> \\boxed{47} </think> done", "no closed answer tag"),
        ("<answer>7</answer><answer>12</answer>", "differ"),
        ("<answer>\\boxed{7} or \\boxed{12}</answer>", "differ"),
        ("<answer> </answer>", "empty"),
        ("<answer>5\n6</answer>", "lines that differ"),
        ("<answer>" + "9" * 2000 + "</answer>", "characters"),
        ("", "no closed answer tag"),
    ],
)
def test_no_answer(text, why):
    with pytest.raises(NoAnswer, match=why):
        final_answer(text)


def test_a_grid_may_have_lines_that_differ():
    assert final_answer("<answer>1 2\n3 4</answer>", multiline=True) == "1 2\n3 4"


def test_boxed_ignores_unbalanced_and_escaped_braces():
    assert boxed("\\boxed{a{b}c} \\boxed{d \\boxed{e}") == ["a{b}c", "e"]


@pytest.mark.parametrize(
    "gold, answer, decision",
    [
        ("47", " 47 ", True),
        ("1080", "1,080", True),
        ("42409", "\\$42,409", True),
        ("\\dfrac{1}{2}", "\\frac{1}{2}", True),
        ("(3, -1)", "(3,-1)", True),
        ("-3", "\u22123", True),
        ("7", "007", True),
        ("7", "8", False),
        ("+5", "5", True),
        ("18", "18.00", True),
        ("0.5", ".50", True),
        ("1234", "1\u202f234", True),
        ("23", "\uff12\uff13", True),
        ("x^2", "x\u00b2", True),
        ("\\frac{1}{2}", "\u00bd", True),
        ("\\le 3", "\u2264 3", True),
        ("50\\%", "50 %", True),
        ("50", "50\\%", None),  # a parser's business
        ("5 \\text{ cm}", "5 \\text{ kg}", None),
        ("\\sqrt{2}", "\u221a2", True),
        ("x^{2}3", "x^{23}", None),
        ("1234", "1, 234", None),  # a list of two numbers
        ("(1,234)", "(1234)", None),  # a pair
        ("11/2", "1 1/2", None),  # a mixed number
        ("0.5", "1/2", None),  # never rejected without a parser
        ("12", "1 2", None),
    ],
)
def test_fast_path(gold, answer, decision):
    assert fast(gold, answer) is decision


def test_fast_path_never_rejects_equal_integers_nor_accepts_different_ones():
    rng = random.Random(1)
    for _ in range(2000):
        a, b = rng.randint(-2000, 2000), rng.randint(-2000, 2000)
        assert fast(str(a), f"{b:,}") is (a == b)
        assert fast(f"{a:,}", f" ${a}$.") is True


def test_normalise_is_idempotent_on_ordinary_answers():
    for answer in ["1,234.", "\\left( 1, 2 \\right)", "$x + 1$", "2 \\text{ euros}", "\\dfrac12"]:
        assert normalise(normalise(answer)) == normalise(answer)


def test_boxes_are_found_in_one_pass():
    for text in ("\\boxed{" * 40_000, "\\boxed{" * 20_000 + "1" + "}" * 20_000, "{" * 10**6 + "\\boxed{1}"):
        assert _seconds(lambda text=text: final_answer_or_none(text), times=1) < 2


def final_answer_or_none(text):
    try:
        return final_answer(text)
    except NoAnswer:
        return None


def test_fast_path_is_cheap():
    text = "<think> " + "First A-1=53. Then B+3=56. " * 4 + "</think> The result is 47. <answer>47</answer>"
    best = min(_seconds(lambda: fast("47", final_answer(text))) for _ in range(5))
    assert best < 20e-6, f"{best * 1e6:.1f} µs a call"


def _seconds(call, times=2000):
    start = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - start) / times
