"""A whole run: what comes out, that nothing is lost, and that only candidates and policy decide."""

import hashlib
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.curation.curate import curate
from tasks.curation.errors import CurationError
from tasks.curation.funnel import Funnel, Rule, Step, read_funnel
from tasks.curation.policy import Benchmark, Deduplication, Policy, Selection
from tasks.provenance.artifacts import checked, read_manifest
from tests.curation.made_candidates import POLICY, candidate, candidates, curated, prose, response, write

RESULT = ("kept.parquet", "decisions.parquet", "outcomes.parquet", "prompts.parquet", "near_duplicates.parquet", "funnel.json")
PICTURE = ("funnel.svg", "funnel.png")


def rows(folder, name: str) -> list[dict]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def digests(folder, names=RESULT) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder of the result, its funnel, the candidates)."""
    folder = tmp_path_factory.mktemp("run")
    funnel = curate([write(folder / "in.parquet", candidates())], POLICY, folder / "out")
    return folder / "out", funnel, candidates()


def test_every_candidate_is_kept_or_rejected_by_a_rule(run):
    out, funnel, given = run
    outcomes = rows(out, "outcomes")
    assert [o["id"] for o in outcomes] == sorted(r["id"] for r in given)
    decisions = rows(out, "decisions")
    for outcome in outcomes:
        mine = [d for d in decisions if d["row_id"] == outcome["id"]]
        failed = [d for d in mine if not d["keep"]]
        assert outcome["kept"] == (not failed)
        if failed:
            assert (outcome["stage"], outcome["rule"]) == (failed[0]["stage"], failed[0]["rule"])
    assert len(decisions) % len(given) == 0
    assert funnel.entered == 240 == funnel.kept + sum(not o["kept"] for o in outcomes)


def test_the_planted_faults_are_rejected_by_their_rules(run):
    out, _, given = run
    failed = {}
    for decision in rows(out, "decisions"):
        if not decision["keep"]:
            failed.setdefault(decision["row_id"], []).append(decision["rule"])
    planted = {
        3: "mixed_language", 7: "code_block", 9: "bad_format", 10: "truncated", 11: "repeated_ngrams", 13: "refusal",
        15: "exact_duplicate", 17: "near_within_prompt", 19: "long_paragraph",
    }  # fmt: skip
    for place, rule in planted.items():
        for i in range(place, 240, 24):
            pair = [given[i]["id"], given[i - 1]["id"]] if place in (15, 17) else [given[i]["id"]]
            assert any(rule in failed.get(one, []) for one in pair), (i, rule, failed.get(given[i]["id"]))


def test_kept_rows_are_whole_and_in_the_order_of_ids(run):
    out, funnel, given = run
    by_id = {r["id"]: r for r in given}
    kept = rows(out, "kept")
    assert len(kept) == funnel.kept > 50 and [r["id"] for r in kept] == sorted(r["id"] for r in kept)
    assert all(row == by_id[row["id"]] for row in kept)
    assert {o["id"] for o in rows(out, "outcomes") if o["kept"]} == {r["id"] for r in kept}


def test_near_duplicates_name_a_kept_row_and_its_similarity(run):
    out, _, given = run
    found = rows(out, "near_duplicates")
    near = [pair for pair in found if pair["kind"] == "near"]
    assert near and all(0.8 <= pair["jaccard"] <= 1 and pair["id"] != pair["kept_id"] for pair in near)
    ids = {r["id"] for r in given}
    assert all({p["id"], p["kept_id"]} <= ids and p["scope"] in ("within_prompt", "across_prompts") for p in found)


def test_the_funnel_adds_up_on_disk_as_in_memory(run):
    out, funnel, _ = run
    assert read_funnel(out) == funnel
    assert [s.step for s in funnel.steps] == ["input", "filters", "deduplication", "selection"]
    data = json.loads((out / "funnel.json").read_text())
    for step in data["steps"]:
        assert step["in"] == step["kept"] + sum(rule["rejected"] for rule in step["rules"])
        assert all(rule["failed"] >= rule["rejected"] for rule in step["rules"])
    with pytest.raises(AssertionError):
        Funnel(10, 5, (Step("filters", 10, 5, (Rule("a", 4, 4),)),))


def test_the_manifest_vouches_for_every_file(run):
    out, _, _ = run
    manifest = read_manifest(out)
    assert set(manifest["files"]) == {*RESULT, *PICTURE} and manifest["policy"]["filters"]["max_tokens"] == 5000
    assert all(checked(out, name) for name in RESULT)
    assert not list(out.parent.glob(".out*")), "nothing is left beside the result"


@pytest.mark.parametrize("variant", ["shuffled files", "row groups", "shard size", "two workers", "json lines"])
def test_the_same_bytes_however_the_candidates_are_cut_and_read(run, tmp_path, variant):
    out, _, given = run
    shuffled = random.Random(variant).sample(given, len(given))
    schema = pa.Table.from_pylist(given).schema
    inputs, settings = [], {}
    if variant == "json lines":
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in shuffled))
        inputs = [tmp_path / "a.jsonl"]
    elif variant == "shuffled files":
        inputs = [write(tmp_path / f"{7 - n}.parquet", shuffled[n::7], schema=schema) for n in range(7)]
    else:
        inputs = [write(tmp_path / "a.parquet", shuffled, group=13 if variant == "row groups" else 40, schema=schema)]
        settings = {"shard size": {"shard_bytes": 1}, "two workers": {"workers": 2, "shard_bytes": 1}}.get(variant, {})
    curated(inputs, POLICY, tmp_path / "out", **settings)
    assert digests(tmp_path / "out") == digests(out)


def test_columns_by_other_names_and_numbers_as_ids(tmp_path):
    given = [
        {("completion" if k == "text" else "pid" if k == "prompt_id" else k): v for k, v in r.items()}
        for r in candidates(24)
    ]
    given = [row | {"id": i, "pid": i // 4} for i, row in enumerate(given)]
    path = write(tmp_path / "a.parquet", given)
    curated([path], POLICY, tmp_path / "out", columns={"text": "completion", "prompt_id": "pid"})
    kept = rows(tmp_path / "out", "kept")
    assert kept and all(row["id"] == str(given[int(row["id"])]["id"]) for row in kept)
    assert all(row["text"] == given[int(row["id"])]["completion"] for row in kept)


def test_bad_rows_are_rejected_with_their_place_and_too_many_stop_the_run(tmp_path):
    text = "".join(json.dumps(r) + "\n" for r in candidates(30)) + '{"id": 5\n'
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(CurationError, match=r"1 of about 31 rows are malformed.*a\.jsonl:31: no JSON"):
        curated([tmp_path / "a.jsonl"], POLICY, tmp_path / "out")
    funnel = curated([tmp_path / "a.jsonl"], POLICY, tmp_path / "out", max_bad_share=0.05)
    assert funnel.entered == 31 and funnel.steps[0].rules == (Rule("malformed", 1, 1),)
    [bad] = [d for d in rows(tmp_path / "out", "decisions") if d["stage"] == "input"]
    assert not bad["keep"] and bad["evidence"].startswith("a.jsonl:31: no JSON")
    assert [o["rule"] for o in rows(tmp_path / "out", "outcomes") if o["id"] == bad["row_id"]] == ["malformed"]


def test_an_id_that_stands_twice_is_named_with_both_places(tmp_path):
    a = write(tmp_path / "a.parquet", candidates(10))
    (tmp_path / "b.jsonl").write_text(json.dumps(candidate(50)) + "\n" + json.dumps(candidates(10)[4]) + "\n")
    said = rf"'{candidates(10)[4]['id']}' stands twice, in .*a\.parquet row 4 and .*b\.jsonl:2, and 0 other"
    with pytest.raises(CurationError, match=said):
        curated([a, tmp_path / "b.jsonl"], POLICY, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_without_any_row_are_said_so(tmp_path):
    (tmp_path / "a.jsonl").touch()
    with pytest.raises(CurationError, match=r"no candidates: .*a\.jsonl hold no rows"):
        curated([tmp_path / "a.jsonl"], POLICY, tmp_path / "out")


def test_nothing_passes(tmp_path):
    path = write(tmp_path / "a.parquet", [candidate(i, verdict="wrong") for i in range(8)])
    assert curated([path], POLICY, tmp_path / "out").kept == 0
    assert rows(tmp_path / "out", "kept") == [] and pq.read_schema(tmp_path / "out" / "kept.parquet").names[0] == "id"


def test_a_row_that_fails_a_filter_displaces_no_other(tmp_path):
    text = prose(1)
    given = [candidate(0, text, finish="length"), candidate(1, text), candidate(2, text)]
    policy = POLICY.model_copy(update={"filters": POLICY.filters.model_copy(update={"well_formed": False})})
    policy = policy.model_copy(update={"selection": Selection(verdict=None)})
    curated([write(tmp_path / "a.parquet", given)], policy, tmp_path / "out")
    fate = {o["id"]: o["rule"] for o in rows(tmp_path / "out", "outcomes")}
    assert [fate[r["id"]] for r in given] == ["truncated", None, "exact_duplicate"]


def test_nfc_and_nfd_twins_are_one_text_and_two_ids(tmp_path):
    given = [
        candidate(1, response("caf\u00e9 au lait twice"), id="\u00e9", verdict="ok"),
        candidate(2, response("cafe\u0301 au lait twice"), id="e\u0301", verdict="ok"),
    ]  # fmt: skip
    policy = Policy(deduplication=Deduplication(), selection=Selection())
    curated([write(tmp_path / "a.parquet", given)], policy, tmp_path / "out")
    assert {o["id"]: o["rule"] for o in rows(tmp_path / "out", "outcomes")} == {
        "e\u0301": "normal_duplicate",
        "\u00e9": None,
    }


def test_a_selection_can_name_a_column_of_the_candidates(tmp_path):
    selection = Selection.model_validate({"verdict": None, "bands": [{"column": "score", "at_least": 5}]})
    policy = Policy(deduplication=Deduplication(exact=False), selection=selection)
    path = write(tmp_path / "a.parquet", candidates(100))
    curated([path], policy, tmp_path / "out")
    assert {r["id"] for r in rows(tmp_path / "out", "kept")} == {r["id"] for r in candidates(100) if r["score"] >= 5}
    wrong = policy.model_copy(
        update={"selection": Selection.model_validate({"bands": [{"column": "scroe", "at_least": 5}]})}
    )
    with pytest.raises(CurationError, match="selection: .*'scroe'"):
        curated([path], wrong, tmp_path / "out")


def test_the_picture_has_the_same_bytes_and_shows_the_numbers(run, tmp_path):
    out, funnel, _ = run
    read_funnel(out).write(tmp_path)
    assert digests(tmp_path, PICTURE) == digests(out, PICTURE)
    svg = (out / "funnel.svg").read_text()
    assert f"{funnel.kept} of {funnel.entered} candidates kept" in svg and "filters · code_block" in svg


def test_an_evaluation_set_is_kept_out_of_prompts_and_of_texts(tmp_path):
    problem = "A farmer has seventeen sheep and buys twenty three more at the market on Monday; how many has he now?"
    (tmp_path / "it's a set.jsonl").write_text(json.dumps({"id": 1, "question": problem}) + "\n")
    given = candidates(24)
    given[1]["prompt"] = problem.upper()
    given[2]["text"] = response(prose(2) + " " + problem)
    path = write(tmp_path / "a.parquet", given)
    against = Benchmark(name="sheep", path=str(tmp_path / "it's a set.jsonl"), text="question")
    curated([path], POLICY, tmp_path / "out", benchmarks=[against])
    failed = [d for d in rows(tmp_path / "out", "decisions") if d["stage"] == "decontamination" and not d["keep"]]
    assert {d["row_id"] for d in failed} == {given[1]["id"], given[2]["id"]}
    assert all("sheep" in d["evidence"] for d in failed)
    assert not {r["id"] for r in rows(tmp_path / "out", "kept")} & {given[1]["id"], given[2]["id"]}
    with pytest.raises(CurationError, match="decontamination.against: .*missing.jsonl"):
        curated([path], POLICY, tmp_path / "out", benchmarks=[Benchmark(name="x", path="missing.jsonl")])


def test_columns_of_any_name_are_carried_through(tmp_path):
    names = ["row", "_row", "_line", "shard", "passes", "chars", "position", "a'b\"; DROP TABLE x", "Ünïcode"]
    given = [row | {name: f"{name} {i}" for name in names} for i, row in enumerate(candidates(24))]
    curated([write(tmp_path / "a.parquet", given)], POLICY, tmp_path / "out")
    by_id = {row["id"]: row for row in given}
    kept = rows(tmp_path / "out", "kept")
    assert kept and all(row == by_id[row["id"]] for row in kept)
