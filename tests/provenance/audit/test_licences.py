"""Which licences go together, against Creative Commons' chart and the FSF's list; and what sets and checkpoints inherit."""

from dataclasses import replace

import pytest

from tasks.prompts.preferences import pair
from tasks.provenance.artifacts import write_manifest, write_rows
from tasks.provenance.audit import audit
from tasks.provenance.audit.books import Stage
from tasks.provenance.audit.licences import known, together
from tasks.rows import PREFERENCE_PAIR, row_id
from tests.provenance.audit.made_books import books, edit, with_params


@pytest.mark.parametrize(
    "names, first",
    [
        (["MIT", "Apache-2.0", "CC-BY-4.0", "generated"], "attribution or notice"),
        (["MIT", "CC-BY-SA-3.0"], "CC-BY-SA-4.0"),
        (["CC-BY-SA-3.0", "CC-BY-SA-4.0"], "CC-BY-SA-4.0"),
        (["CC-BY-SA-4.0", "GPL-3.0-only"], "GPL-3.0-only"),
        (["CC-BY-4.0", "CC-BY-NC-4.0"], "CC-BY-NC-4.0"),
        (["CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"], "CC-BY-NC-SA-4.0"),
        (["GPL-2.0-or-later", "Apache-2.0"], "GPL-3.0-only"),
        (["MIT OR GPL-2.0-only", "CC-BY-SA-4.0"], "CC-BY-SA-4.0"),
    ],
    ids=" + ".join,
)
def test_these_go_together_and_may_be_released_under(names, first):
    found = together(names)
    assert (found.releases[0], found.unknown, found.clashing) == (first, (), ())


@pytest.mark.parametrize(
    "names",
    [
        ["CC-BY-SA-4.0", "CC-BY-NC-4.0"],
        ["CC-BY-SA-4.0", "CC-BY-NC-SA-4.0"],
        ["GPL-2.0-only", "Apache-2.0"],
        ["GPL-2.0-only", "GPL-3.0-only"],
        ["CC-BY-SA-3.0", "GPL-2.0-only"],
        ["Llama-3.1", "CC-BY-SA-4.0"],
        ["MIT", "CC-BY-ND-4.0"],
        ["CC-BY-SA-4.0 AND MIT", "CC-BY-NC-4.0"],
    ],
    ids=" + ".join,
)
def test_these_do_not(names):
    found = together(names)
    assert not found.releases and found.clashing


def test_names_are_read_whatever_their_case_and_nothing_is_guessed():
    assert known("apache 2.0").name == "Apache-2.0" and known("cc_by_sa_4.0").name == "CC-BY-SA-4.0"
    for name in ("MIT; LeetCode statements", "not released", "MIT AND terms", "", "CC"):
        assert known(name) is None, name
    assert together(["MIT", "not released"]).unknown == ("not released",)


def licences(held):
    (check,) = audit(held, ["licences"])
    facts = check.outcome.facts
    return check, {e.get("set") or e["checkpoint"]: e for e in facts["sets"] + facts["checkpoints"]}


def test_sets_and_checkpoints_have_the_licences_of_their_rows_and_no_others(template):
    check, entries = licences(books(template))
    assert check.passed

    def sources(name):
        return {(s["source"], s["licence"]): s["rows"] for s in entries[name]["sources"]}

    assert sources("data/11_reasoning/examples.parquet") == {("sums", "MIT"): 48}
    assert sources("data/13_sft_data/examples.parquet") == {("sums", "MIT"): 48, ("general", "CC-BY-4.0"): 16}
    assert sources("data/08_dev2") == {("sums", "MIT"): 60}, "RL on the sources it names, none of the others"
    assert sources("data/17_r1").keys() == {("sums", "MIT"), ("general", "CC-BY-4.0")}, "through dev3 and its set"


def relicensed(checkout, licence):
    def change(rows):
        for row in rows:
            if row["source"] == "general":
                row["licence"] = licence

    edit(checkout, "01_prompts/train", change)
    return books(checkout)


def test_an_incompatible_source_is_flagged_in_every_set_and_checkpoint_that_has_it(checkout):
    def change(rows):
        for row in rows:
            row["licence"] = "CC-BY-SA-4.0" if row["source"] == "sums" else "CC-BY-NC-4.0"

    edit(checkout, "01_prompts/train", change)
    check, entries = licences(books(checkout))
    flagged = {f.where for f in check.violations}
    assert flagged == {
        "data/13_sft_data/examples.parquet", "data/14_dev3", "data/17_r1", "data/18_distill/qwen"
    }  # fmt: skip
    assert all("allow no common release" in f.problem and f.evidence == ("general, sums",) for f in check.violations)
    assert not entries["data/14_dev3"]["together"] and entries["data/08_dev2"]["together"]


def test_an_unknown_licence_is_flagged_with_its_source(checkout):
    check, _ = licences(relicensed(checkout, "my own terms"))
    assert "licence 'my own terms' of general is none that is known" in {f.problem for f in check.violations}


def test_a_row_whose_prompt_is_in_no_table_stands_under_no_licence(checkout):
    edit(checkout, "13_sft_data/examples", lambda rows: rows[0].update(prompt_id="prompt_lost"))
    check, _ = licences(books(checkout))
    says = "licence 'not stated' of rows whose prompt is in no table is none that is known"
    assert ("data/13_sft_data/examples.parquet", says) in {(f.where, f.problem) for f in check.violations}


def test_a_judged_pair_is_of_the_source_whose_prompt_it_has(checkout):
    folder, by = checkout / "data/15_preferences", "judge:0123456789abcdef"
    asked = {"first": "What is a river?", "second": "What is a goat?", "third": "What is a goose?"}
    ids = {name: row_id("prompt", source=name, text=text) for name, text in asked.items()}
    pairs = [pair(ids[n], text, "water", "?", "judged", 1.0, by, 0.2) for n, text in asked.items()]
    write_rows(folder, "pairs", pairs, PREFERENCE_PAIR)
    write_manifest(folder, stage="preferences", params={})
    sources = [{"name": "first", "judge": "m", "licence": "MIT"}, {"name": "second", "judge": "m", "licence": "ODbL-1.0"}]  # fmt: skip
    outs = {"data/15_preferences": None}
    stage = Stage("preferences", "preferences", None, outs=outs, params={"preferences": {"sources": sources}})
    held = books(checkout)
    held = replace(held, stages=held.stages | {"preferences": stage})
    _, entries = licences(held)
    assert {(s["source"], s["licence"]) for s in entries["data/15_preferences/pairs.parquet"]["sources"]} == {
        ("first", "MIT"), ("second", "ODbL-1.0"), ("rows whose prompt is in no table", "not stated")
    }  # fmt: skip
    (chains,) = audit(held, ["chains"])
    assert [(f.problem, f.rows) for f in chains.violations] == [(f"its prompt is in no table and of no preference source ({by})", 1)]  # fmt: skip
    assert [f.rows for f in chains.remarks] == [2]


def test_a_base_of_others_needs_a_stated_licence(template):
    held = with_params(books(template), "dev2")
    hub = {"hub": "some/model", "revision": "0" * 40}
    for stated, passes in ((None, False), ("Apache-2.0", True)):
        model = hub | ({"licence": stated} if stated else {})
        base = replace(held.stages["dev2"], stage="base", name="base", inputs={}, params={"base": {"model": model}})
        check, _ = licences(replace(held, stages={**held.stages, "dev2": base}))
        assert check.passed is passes
        if not passes:
            assert "of model some/model" in check.violations[0].problem
