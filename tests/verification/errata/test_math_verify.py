"""Wrong answers that math-verify 0.9.0 is known to accept in one way of calling it, and their right neighbours."""

import pytest

from tasks.verification.verify import verify


def verdict(gold: str, answer: str):
    return verify(
        {"id": "p", "domain": "maths", "gold": gold, "meta": None}, f"<think> . </think> <answer>{answer}</answer>"
    )


@pytest.mark.parametrize(
    "gold, answer",
    [
        (r"1-\frac{1}{\mathrm e}", r"1+\frac{1}{\mathrm e}"),
        ("4", r"4\sqrt(2)"),
        ("4", r"4\sqrt[3](2)"),
        ("2", r"2\mathrm{e}"),
        ("3", r"3\mathbf{x}"),
        ("0.0000001", "0.0000003"),
        ("5", "6=5"),
        ("3", "1=2=3"),
        ("7", "7,12"),
        ("7", r"\{7,12\}"),
        ("5", "5 or 6"),
        ("5", "not 5"),
        ("5", "5!"),
        ("[0,3)", "(0,3)"),
        ("1, 234", "1234"),
        ("x^2+1", "x^2-1"),
        (r"\frac{1}{\mathrm{e}}", r"\frac{1}{\mathrm{e}^2}"),
        (r"\text{Tuesday}", r"\text{Monday}"),
        ("(1,2)", "(2,1)"),
        (r"\sqrt{2}", "1.41"),
    ],
)
def test_wrong_answers_are_not_accepted(gold, answer):
    assert verdict(gold, answer).status in ("wrong", "unparsable")


@pytest.mark.parametrize("answer", ["7 \n 12", "5\n6", r"\boxed{7} \boxed{12}"])
def test_two_answers_are_none(answer):
    assert verdict("12", answer).status == "unparsable"


def test_several_boxes_without_a_tag_are_the_last_one():
    prompt = {"id": "p", "domain": "maths", "gold": "7", "meta": None}
    assert verify(prompt, r"\boxed{7} … no, \boxed{12}").status == "wrong"
    assert verify(prompt | {"gold": r"\{7, 12\}"}, r"\boxed{7} … \boxed{12}").status == "wrong"


@pytest.mark.parametrize(
    "gold, answer",
    [
        (r"1-\frac{1}{\mathrm e}", r"1-e^{-1}"),
        (r"4\sqrt{2}", r"4\sqrt(2)"),
        (r"\frac{1}{2}", "0.5"),
        (r"\frac12", "1/2"),
        ("50", r"50\%"),
        (r"2 \text{ euros}", "2"),
        (r"10\frac{1}{12}", r"\frac{121}{12}"),
        (r"1\frac{1}{2}", "1 1/2"),
        (r"k = \frac{-33}{2}", "-16.5"),
        (r"2, 3, \text{ and } 4", "2,3,4"),
        ("x^2+1", "1+x^2"),
        ("5", "x=5"),
        (r"\text{(A)}", "A"),
        (r"\text{Tuesday}", "Tuesday"),
        (r"\$42409", "42409"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "\\begin{pmatrix} 1 \\\\\n 2 \\end{pmatrix}"),
        ("a + b + c", "a+c+b"),
        (r"\sin^2 t", r"\sin^2{t}"),
        (r"\dfrac{2469}{20,\!000}", "0.12345"),
        (r"\approx 8.24 \text{ mph}", "8.24"),
        (r"\text{(E)},", "E"),
        (r"\frac{\pi}{3}", r"\frac{2\pi}{6}"),
    ],
)
def test_right_answers_stay_right(gold, answer):
    assert verdict(gold, answer).status == "ok"


def test_gold_and_prediction_are_not_swapped():
    """math-verify takes an assignment only on one side: a swap would show here."""
    assert verdict("1<x<2", "(1,2)").status == "ok"
    assert verdict("(1,2)", "1<x<2").status == "wrong"
