import json
from pathlib import Path

import pytest

from tasks.verification import choices
from tasks.verification.verdict import VerificationError

PAIRS = [json.loads(line) for line in (Path(__file__).parent / "rules_adversarial" / "choices.jsonl").open()]
OPTIONS = {"A": "4 m/s", "B": "The cat", "C": "1/2"}


def row(gold: str | None = "B", options: object = None, **more) -> dict:
    meta = json.dumps({"options": OPTIONS if options is None else options})
    return {"id": "p7", "domain": "choice", "gold": gold, "meta": meta} | more


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair["answer"][:30])
def test_adversarial_pairs(pair):
    prompt = row(pair["gold"], pair["meta"]["options"])
    assert choices.start(prompt, f"<answer>{pair['answer']}</answer>")[1][0] == pair["status"], pair["reason"]


def test_there_are_enough_pairs_and_each_says_why():
    assert len(PAIRS) >= 60 and all(pair["reason"] for pair in PAIRS)
    assert {pair["status"] for pair in PAIRS} == {"ok", "wrong", "unparsable"}


def test_only_the_final_answer_counts():
    assert choices.start(row(), "<think>(B), clearly</think> So it is A: <answer>A</answer>")[1][0] == "wrong"
    assert choices.start(row(), r"<think>A?</think> \boxed{B}")[1][0] == "ok"
    extracted, (status, method, _), job = choices.start(row(), "<think>B")
    assert (extracted, status, method, job) == (None, "unparsable", "choice/extraction", None)
    assert choices.start(row(), "It must be B.")[1][0] == "unparsable"


@pytest.mark.parametrize("label", OPTIONS)
def test_every_gold_is_ok_in_every_dress_and_every_other_option_wrong(label):
    dresses = ["{0}", "({0})", r"\text{{{0}}}", "{0}. {1}", "Option {0}", "{1}", "**{0}**"]
    for other, text in OPTIONS.items():
        for dress in dresses:
            decision = choices.start(row(label), f"<answer>{dress.format(other, text)}</answer>")[1]
            assert decision[0] == ("ok" if other == label else "wrong"), dress


@pytest.mark.parametrize("answer", ["\0", "\ud800", "\\", "{" * 900, "B" * 5000, "(" * 999, "\\boxed{", "💥"])
def test_bad_text_is_unparsable_and_never_an_error(answer):
    assert choices.start(row(), f"<answer>{answer}</answer>")[1][0] == "unparsable"


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        (row(None), "gold ''.*A, B, C"),
        (row("D"), "gold 'D'"),
        (row(options={"A": "one"}), "two or more"),
        (row(options={"A": "one", "a": "two"}), "the same but for their case"),
        (row(options={"A": "one", "B": 2}), "two or more"),
        (row(options=["one", "two"]), "two or more"),
        (row(meta=None), "no options in meta"),
        (row(meta="{"), "no options in meta"),
    ],
)
def test_bad_rows_are_named(prompt, named):
    with pytest.raises(VerificationError, match=f"p7.*{named}"):
        choices.start(prompt, "<answer>B</answer>")
    problem, job = choices.gold_problem(prompt)
    assert named.split(".*")[0] in problem and job is None


def test_a_gold_with_a_twin_is_a_problem():
    assert "options B (the gold) and A" in choices.gold_problem(row(options={"A": "12", "B": "12.", "C": "13"}))[0]
    assert choices.gold_problem(row("C", options={"A": "12", "B": "12", "C": "13"})) == (None, None)
