import json

import pytest

from tasks.verification.instructions import domain
from tasks.verification.verdict import VerificationError
from tasks.verification.verify import gold_problems, verify, verify_all

NO_COMMA, TITLE = "punctuation:no_comma", "detectable_format:title"


def row(ids: object, kwargs: object = None, **more) -> dict:
    meta = {"instruction_ids": ids, "kwargs": kwargs if kwargs is not None else [{} for _ in ids]} | more
    return {"id": "p9", "domain": "instructions", "gold": None, "meta": json.dumps(meta)}


def test_ok_means_every_instruction():
    prompt = row([NO_COMMA, TITLE])
    verdict = verify(prompt, "<think>one, two</think> <<Joy>> and no more")
    assert (verdict.status, verdict.method, verdict.detail) == ("ok", "instructions/strict", "2 of 2 followed")
    verdict = verify(prompt, "<<Joy>>, and more")
    assert verdict.status == "wrong" and verdict.detail == "1 of 2 followed; punctuation:no_comma: 1 commas"


def test_strict_and_loose():
    text = "Sure, here:\n<<Joy>>"
    assert verify(row([NO_COMMA]), text).status == "wrong"
    verdict = verify(row([NO_COMMA], strict=False), text)
    assert (verdict.status, verdict.method) == ("ok", "instructions/loose")


def test_what_is_judged():
    quotation = row(["startend:quotation"])
    assert verify(quotation, '<think>x</think> <answer>"a"</answer>').status == "ok"
    assert verify(quotation, '<answer>"a"</answer> <answer>"b"</answer>').status == "wrong"
    for empty in ("", "  ", "<think>a</think>", "<think>a</think> <answer> </answer>", "<think> and on"):
        assert verify(row([NO_COMMA]), empty).status == "unparsable"
    assert len(verify(row([NO_COMMA]), "x" * 5000).extracted) == domain.SHOWN


def test_languages_are_asked_in_a_worker_and_only_where_the_rest_is_right():
    language = row(["change_case:english_lowercase", NO_COMMA])
    good, bad = "all human beings are born free and equal", "All human beings are born, free"
    assert domain.start(language, good)[1] is None
    assert domain.start(language, bad)[1][0] == "wrong" and "not looked at" in domain.start(language, bad)[1][2]
    german = row(["language:response_language"], [{"language": "de"}])
    verdicts = verify_all([language, german, german], [good, "Alle Menschen sind frei und gleich geboren.", good])
    assert [v.status for v in verdicts] == ["ok", "ok", "wrong"] and "reads as en" in verdicts[2].detail


def test_nulls_and_whole_floats_in_kwargs_are_as_published():
    kwargs = {"num_highlights": 1.0, "relation": None, "keywords": None}
    assert gold_problems([row(["detectable_format:number_highlighted_sections"], [kwargs])]) == [None]


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        (row(["punctuation:no_coma"]), "unknown instruction 'punctuation:no_coma'; nearest: punctuation:no_comma"),
        (row([None]), "unknown instruction None"),
        (row([]), "instruction_ids and kwargs"),
        (row([NO_COMMA], []), "the same length"),
        (row(NO_COMMA, [{}]), "instruction_ids and kwargs"),
        (row(["keywords:existence"]), "keywords:existence: kwargs lack 'keywords'"),
        (row(["keywords:existence"], [{"keywords": []}]), "not a list of texts"),
        (row(["keywords:existence"], [{"keywords": "sun"}]), "not a list of texts"),
        (row(["keywords:existence"], ["sun"]), "not an object"),
        (row([NO_COMMA], [{"keywords": ["a"]}]), "hold 'keywords', which it does not know"),
        (row(["length_constraints:number_words"], [{"num_words": 2.5, "relation": "at least"}]), "not a whole number"),
        (row(["length_constraints:number_words"], [{"num_words": True, "relation": "at least"}]), "not a whole number"),
        (row(["length_constraints:number_words"], [{"num_words": 2, "relation": "more than"}]), "neither 'less than'"),
        (row(["language:response_language"], [{"language": "tlh"}]), "none that langdetect knows"),
        (
            row(["keywords:letter_frequency"], [{"letter": "ab", "let_frequency": 1, "let_relation": "at least"}]),
            "not one character",
        ),
        (row([NO_COMMA], strict="yes"), "meta.strict is 'yes'"),
        (row([NO_COMMA]) | {"meta": None}, "instruction_ids and kwargs"),
        (row([NO_COMMA]) | {"meta": "{"}, "no JSON"),
        (row([NO_COMMA]) | {"meta": "[]"}, "instruction_ids and kwargs"),
    ],
)
def test_bad_rows_are_named(prompt, named):
    assert named in gold_problems([prompt])[0] and "p9" in gold_problems([prompt])[0]
    with pytest.raises(VerificationError, match="p9"):
        domain.start(prompt, "x")


def test_a_verdict_names_the_instructions_in_place_of_a_gold():
    prompt = row(["punctuation:no_comma", "keywords:existence"], [{}, {"keywords": ["sea"]}])
    for text in ("The sea.", "", None):
        assert json.loads(verify(prompt, text).gold) == ["punctuation:no_comma", "keywords:existence"]
    assert verify_all([prompt | {"meta": "{}"}], ["The sea."])[0].gold is None, "there is nothing to name"
