"""Every instruction type of IFEval: what follows it, what does not, and the edge between."""

import json
import os
import time
from pathlib import Path

import pytest

from tasks.verification.instructions import domain
from tasks.verification.instructions.text import sentences

SHARED = Path(os.environ.get("R1_SHARED_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
ENGLISH = "all human beings are born free and equal in dignity and rights"
GERMAN = "Alle Menschen sind frei und gleich an Würde und Rechten geboren."

# type, kwargs, a response that follows, one that does not, and edge cases: (response, follows, why)
CASES = [
    ("keywords:existence", {"keywords": ["sun", "Moon"]}, "The SUN and a moon.", "The sun.",
     [("sunmoon", True, "inside another word, as in IFEval"), ("c++", False, "nothing of it")]),
    ("keywords:existence", {"keywords": ["c++"]}, "I like C++.", "I like cc.",
     [("ccc", False, "a keyword is a text, not a regular expression")]),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "at least"}, "War and war.", "One war.",
     [("warwar", True, "counted inside a longer word, as in IFEval")]),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "less than"}, "One war.", "War, war.",
     [("peace", True, "none is less than two")]),
    ("keywords:forbidden_words", {"forbidden_words": ["bad", "no"]}, "A good nob.", "It is BAD.",
     [("badly done, nobody", True, "only words of their own"), ("no-one", False, "a hyphen parts words")]),
    ("keywords:letter_frequency", {"letter": "q", "let_frequency": 2, "let_relation": "at least"}, "Quick Q", "quick",
     [("qQ", True, "in either case")]),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": "less than"}, "# one", "## two",
     [("none", True, "a sign counts as a letter does")]),
    ("language:response_language", {"language": "de"}, GERMAN, f"{ENGLISH}.",
     [("12 + 30 = 42", False, "no language at all")]),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"}, "One. Two! Three?",
      "One. Two.",
     [("Dr. A. Smith came at 3.5 p.m. to the U.S. Then he left... alone.", False, "full stops that end nothing")]),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, "Only one.", "One. Two.",
     [("A title\n\nwithout a stop", True, "a line break ends no sentence"), ("1. One\n2. Two", True, "markers")]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One\n\n***\n\nTwo", "One\n\nTwo",
     [("***\nOne\n***\nTwo\n***", True, "dividers at the ends"),
      ("One\n***\n\n***\nTwo", False, "an empty one between")]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "one two three", "one two",
     [("don't stop", True, "an apostrophe parts words, as in IFEval"), ("— … !", False, "signs are no words")]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "one two", "one two three",
     [("well-known", True, "two words")]),
    ("length_constraints:nth_paragraph_first_word",
     {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "weekend"}, "One.\n\nWeekend plans.", "Weekend.\n\nOne.",
     [("One.\n\n\n\n'Weekend', he said", True, "more empty lines, quotation marks and a comma"),
      ("One.\n\nWeekends", False, "a longer word"), ("One.\n\nWeekend\n\nThree", False, "a paragraph too many")]),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] of [address]", "[name]",
     [("[] and [ ] and [x]", False, "blank brackets hold no place"), ("[[a] [b]]", True, "nested")]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\n\nP.S. Write!", "Bye. PS write",
     [("Bye.\np. s. write", True, "case and a space"), ("Bye.\nP.S.", False, "nothing behind it"),
      ("Bye.\nP.P.S. write", False, "that is another postscript")]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "P.P.S. Write!", "P.S. Write!",
     [("p.p.s: write", True, "case and a colon")]),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n* two", "* one",
     [("- one\n  - two", True, "hyphens and indents"), ("* one\n- two\n---", True, "a rule is no bullet"),
      ("*one*\n**two**", False, "emphasis is no bullet")]),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Maybe.",
     [("my answer is yes.", False, "word for word"), ("Well. My answer is no. Sorry.", True, "anywhere")]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**", "*one*",
     [("2 * 3 * 4 * 5", False, "multiplication"), ("* one\n* two\n* three", False, "bullets"),
      ("** ** * *", False, "blank")]),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2},
     "SECTION 1\na\nSECTION 2\nb", "SECTION 1\na",
     [("SECTION 1 and again SECTION 1", False, "the same section twice"), ("Section 1\nSection 2", False, "case"),
      ("SECTION1 SECTION2", True, "no space")]),
    ("detectable_format:json_format", {}, '{"a": [1, "x"]}', '{"a": [1, "x"}',
     [('```json\n{"a": 1}\n```', True, "fenced"), ('Here: {"a": 1}', False, "words around it"),
      ('{"a": NaN}', False, "NaN is no JSON"), ("[" * 99999, False, "too deep to read")]),
    ("detectable_format:title", {}, "<<Joy>>\nText", "<Joy>\nText",
     [("<<>>", False, "blank"), ("<< >>", False, "blank"), ("<<a\nb>>", False, "two lines"),
      ("x <<a>> y", True, "anywhere")]),
    ("combination:two_responses", {}, "One.\n******\nTwo.", "One.\n******\nTwo.\n******\nThree.",
     [("One.\n******\nOne.", False, "the same twice"),
      ("******\nOne.\n******\nTwo.\n******", True, "dividers at the ends"),
      ("One.\n******", False, "only one")]),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Write a poem."}, "write a poem.\nRoses …",
      "Roses … Write a poem.",
     [("  Write a poem.", True, "space in front"), ("Write a poem!", False, "another sign")]),
    ("startend:end_checker", {"end_phrase": "The end."}, "So it was. the END.", "The end. Bye.",
     [('"So it was. The end."  ', True, "quotation marks around the whole"), ("The end", False, "without the stop")]),
    ("startend:quotation", {}, '"All of it."', 'He said "some of it."',
     [('"', False, "one sign is no pair"), ('  "a"\n', True, "space around it"),
      ("“a”", False, "other marks, as in IFEval")]),
    ("change_case:capital_word_frequency", {"capital_relation": "at least", "capital_frequency": 2}, "NASA and I",
      "NASA",
     [("U.S. COVID-19", True, "full stops, hyphens, digits"), ("Nasa Esa", False, "first letters only")]),
    ("change_case:capital_word_frequency", {"capital_relation": "less than", "capital_frequency": 1}, "none", "ONE",
     [("I'm here", False, "I is a word in capitals")]),
    ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH,
     [(GERMAN.upper(), False, "not English"), ("1 2 3", False, "no letters"),
      (f"{ENGLISH.upper()} 24!", True, "digits")]),
    ("change_case:english_lowercase", {}, ENGLISH, ENGLISH.capitalize(),
     [(GERMAN.lower(), False, "not English"), (f"{ENGLISH} 24!", True, "digits have no case")]),
    ("punctuation:no_comma", {}, "One and two", "One, two", [("1;2 ‚ and ،", True, "other signs, as in IFEval")]),
]  # fmt: skip


def follows(name: str, kwargs: dict, text: str, strict: bool = True) -> bool:
    return domain.follow(text, [name], [domain.checked(name, kwargs)], strict) == [None]


def test_every_type_has_its_cases():
    assert {case[0] for case in CASES} == set(domain.CHECKS) and len(domain.CHECKS) == 25


@pytest.mark.parametrize(("name", "kwargs", "right", "wrong", "edges"), CASES, ids=[case[0] for case in CASES])
def test_type(name, kwargs, right, wrong, edges):
    assert follows(name, kwargs, right) and not follows(name, kwargs, wrong)
    for text, expected, why in edges:
        assert follows(name, kwargs, text) == expected, why


@pytest.mark.parametrize(("name", "kwargs", "right", "wrong", "_"), CASES, ids=[case[0] for case in CASES])
def test_loose_forgives_a_first_or_last_line_and_asterisks_and_never_takes_back(name, kwargs, right, wrong, _):
    assert follows(name, kwargs, right, strict=False)
    if "number_" not in name and "frequency" not in name and "nth" not in name:
        assert follows(name, kwargs, f"Sure:\n{right}\nBye", strict=False)


def test_loose_readings():
    assert list(domain.variants("a\n*b*\nc")) == [
        "a\n*b*\nc",
        "a\nb\nc",
        "*b*\nc",
        "b\nc",
        "a\n*b*",
        "a\nb",
        "*b*",
        "b",
    ]
    comma = ("punctuation:no_comma", {})
    assert follows(*comma, "Yes, sir:\nNone here", strict=False) and not follows(*comma, "Yes, sir:\nNone here")
    assert not follows(*comma, "a, b", strict=False), "an empty rest follows nothing"
    assert follows("detectable_format:title", {}, "**<<Joy>>**", strict=False)


@pytest.mark.parametrize("name", domain.CHECKS)
def test_no_response_costs_more_than_linear_time(name):
    kwargs = next(case[1] for case in CASES if case[0] == name)
    for text in (
        "*" * 99_999,
        "[" * 99_999,
        "<<" * 50_000,
        "p.p.s " * 20_000,
        ". " * 50_000,
        "\n" * 99_999,
        " " * 99_999 + "x",
    ):
        start = time.process_time()
        follows(name, kwargs, text)
        assert time.process_time() - start < 5.0, text[:9]


@pytest.mark.parametrize("text", ["\0", "\ud800 x", "💥", "۝", "{" * 999, "a" * 200_000])
def test_any_text_is_decided(text):
    for name, kwargs, *_ in CASES:
        assert follows(name, kwargs, text) in (True, False)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Mr. Smith went to Washington D.C. on Jan. 5. He paid $3.50.", 2),
        ('He said "Stop!" Then he left.', 2),
        ("No way!!! Really?! Yes…", 3),
        ("Wait... what? e.g. this. And J. K. Rowling.", 2),
        ("你好。我很好！", 2),
        ("यह एक है। यह दो है।", 2),
        ("He said no. Then Doe et al. (2020) agreed.", 2),
        ("...", 0),
        ("", 0),
    ],
)
def test_sentences(text, count):
    assert len(sentences(text)) == count, sentences(text)


def test_languages_are_those_of_the_library():
    from langdetect import detector_factory

    detector_factory.init_factory()
    known = set(detector_factory._factory.get_lang_list())
    assert known | {"zh"} == set(domain.LANGUAGES.split())


@pytest.mark.skipif(
    not (SHARED / "ifeval-qwq").is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)"
)
def test_the_real_prompts_are_accepted_and_cover_every_type():
    rows = [json.loads(line) for line in (SHARED / "ifeval-qwq" / "ifeval.jsonl").open()]
    seen = set()
    for row in rows:
        meta = json.dumps({"instruction_ids": row["instruction_id_list"], "kwargs": row["kwargs"]})
        assert domain.gold_problem({"id": "i", "gold": None, "meta": meta}) == (None, None)
        seen |= set(row["instruction_id_list"])
    assert len(rows) == 541 and seen == set(domain.CHECKS)
