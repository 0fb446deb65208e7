"""The rules of filters.sql at their thresholds, by the decisions that reach the user."""

import pyarrow.parquet as pq
import pytest

from tasks.curation.errors import CurationError
from tasks.curation.policy import Filters, Policy, Selection, load_policy
from tests.curation.made_candidates import candidate, curated, prose, response, write

FREE = {"deduplication": {"exact": False}, "selection": Selection(verdict=None)}


def decided(tmp_path, filters: Filters, text: str, **others) -> dict[str, dict]:
    path = write(tmp_path / "a.parquet", [candidate(1, text, **others)])
    curated([path], Policy(filters=filters, **FREE), tmp_path / "out")
    return {d["rule"]: d for d in pq.read_table(tmp_path / "out" / "decisions.parquet").to_pylist()}


CASES = {
    "mixed_language": (
        Filters(min_language_share=0.5), response("one two three"), response("我们需要计算这个数的值并且检查 one"),
    ),
    "long_paragraph": (Filters(max_paragraph_chars=50), response("a b\n\n" * 60), response("a b " * 60)),
    "code_block": (Filters(max_code_fences=0), response("a", "```b``` <answer>1</answer>"), response("a ```b```")),
    "no_thought": (Filters(thought=True), response("a") + "<answer>", "<think>a"),
    "bad_format": (Filters(well_formed=True), response("a"), response("a") + "<answer>5</answer>"),
    "too_short": (Filters(min_tokens=3), "one two three", "one two"),
    "too_long": (Filters(max_tokens=3), "one two three", "one two three four"),
    "repeated_ngrams": (Filters(max_repeated_ngrams=0.5), "one two three four five six", "wait " * 40),
    "repeated_paragraphs": (
        Filters(max_repeated_paragraphs=0.5), prose(1) + "\n\n" + prose(2), "\n\n".join([prose(1)] * 5),
    ),
    "refusal": (Filters(refused_openings=("As an AI",)), response("as an ai", "So 4"), response("x", "As an AI model")),
}  # fmt: skip


@pytest.mark.parametrize("rule", CASES)
def test_each_rule_keeps_and_rejects(tmp_path, rule):
    filters, good, bad = CASES[rule]
    kept = decided(tmp_path, filters, good)
    assert list(kept) == [rule] and kept[rule]["keep"], kept
    rejected = decided(tmp_path, filters, bad)
    assert list(rejected) == [rule] and not rejected[rule]["keep"], rejected
    assert rejected[rule]["threshold"] is not None and rejected[rule]["value"] is not None


@pytest.mark.parametrize(
    ("finish", "text", "keep"),
    [
        ("stop", "<think>a", True), ("length", response("a"), False), (None, response("a"), True),
        (None, "<think>a", False),
        ("eos", response("a"), True),
    ],
)  # fmt: skip
def test_truncation_by_what_sampling_said_or_by_the_open_block(tmp_path, finish, text, keep):
    assert decided(tmp_path, Filters(complete=True), text, finish=finish)["truncated"]["keep"] is keep


@pytest.mark.parametrize(
    ("language", "text", "keep", "evidence"),
    [
        ("en", response("1 + 2"), True, "no words"),
        ("xx", response("a word"), False, "no script is known for language xx"),
    ],
)
def test_language_without_words_or_without_a_known_script(tmp_path, language, text, keep, evidence):
    found = decided(tmp_path, Filters(min_language_share=0.9), text, language=language)["mixed_language"]
    assert (found["keep"], found["evidence"]) == (keep, evidence)


def test_values_with_quotes_and_sql_in_them_are_data(tmp_path):
    evil = "'); DROP TABLE measured; --"
    found = decided(
        tmp_path,
        Filters(refused_openings=(evil,)),
        evil + " x",
        id=evil,
        prompt_id=evil,
        language=evil,
        source=evil,
        finish=evil,
    )
    assert found["refusal"]["row_id"] == evil and found["refusal"]["evidence"] == f'opens with "{evil}"'


def test_every_rule_is_decided_for_a_row_that_failed_the_first(tmp_path):
    filters = Filters(min_tokens=5, max_tokens=6, well_formed=True, complete=True)
    found = decided(tmp_path, filters, "two words", finish="length")
    assert {rule: d["keep"] for rule, d in found.items()} == {
        "truncated": False, "bad_format": False, "too_short": False, "too_long": True,
    }  # fmt: skip


def test_policies_by_name_and_file_and_what_is_wrong_with_one(tmp_path):
    (tmp_path / "mine.yaml").write_text("filters: {min_tokens: 3}\n")
    assert (
        load_policy("mine", tmp_path)
        == load_policy(tmp_path / "mine.yaml", tmp_path)
        == Policy(filters=Filters(min_tokens=3))
    )
    wrong = {
        "filters: {min_token: 3}": r"filters\.min_token: unknown key; did you mean min_tokens\?",
        "filter: {}": r"filter: unknown key; did you mean filters\?",
        "filters: {min_tokens: many}": r"filters\.min_tokens: .*found 'many'",
        "deduplication: {across_prompts: 2}": r"deduplication\.across_prompts: .*found 2",
        "decontamination: {against: [{name: a, path: b, colum: c}]}": r"against\.0\.colum: unknown key; .*path",
        "filters: {": "no valid YAML",
    }
    for text, said in wrong.items():
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(CurationError, match=rf"mine\.yaml.*{said}"):
            load_policy("mine", tmp_path)
    with pytest.raises(CurationError, match="did you mean mine"):
        load_policy("mien", tmp_path)
