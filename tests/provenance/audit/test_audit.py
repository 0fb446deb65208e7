"""Every check holds on books in order, and fails, naming what it should, on a tampered copy."""

import shutil
from dataclasses import replace

import pytest

from tasks.prompts.revoked import Tombstone
from tasks.provenance.audit import NAMES, audit
from tasks.provenance.audit.books import Stage
from tasks.provenance.audit.browse import Browser
from tests.provenance.audit.made_books import LONG, books, edit, edit_json, with_params


def found(root_or_books, *only):
    """(where, problem) of every violation of these checks."""
    held = root_or_books if hasattr(root_or_books, "stages") else books(root_or_books)
    return [(f.where, f.problem) for check in audit(held, only) for f in check.violations]


def test_every_check_holds_on_books_in_order(template):
    checks = audit(books(template))
    assert [c.name for c in checks] == list(NAMES)
    assert [f for c in checks for f in c.violations] == []
    looked = {c.name: c.outcome.looked_at for c in checks}
    assert looked["contamination"] == 76 + 48 + 16 + 64, "bank, reasoning, non-reasoning, union"
    assert looked["protocols"] == 4000
    assert looked["counts"] > 50


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_table_that_cannot_be_read_is_a_finding_of_each_check_that_needs_it(checkout, damage):
    held = books(checkout)
    file = checkout / "data/09_candidates/candidates.parquet"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-100])
    failed = {c.name for c in audit(held) if not c.passed}
    assert {"checksums", "chains", "counts"} <= failed
    assert "data/09_candidates/candidates.parquet" in {where for where, _ in found(held, "checksums")}


@pytest.mark.parametrize("gone", ["data/01_final", "data/13_sft_data"])
def test_a_check_of_rows_does_not_hold_where_rows_are_not_here(checkout, gone):
    held = books(checkout)
    shutil.rmtree(checkout / gone)
    for check in audit(held, ["chains", "row ids", "contamination", "licences"]):
        assert (gone, "is not here: nothing in it was looked at") in {(f.where, f.problem) for f in check.violations}


def test_to_look_at_nothing_proves_nothing(template):
    told = {where for where, _ in found(replace(books(template), stages={}))}
    assert told == {"data/01_final", *NAMES} - {"contamination", "git clean"}


def test_annotations_may_hold_any_character(checkout):
    from tasks.curation.annotation import Annotation, write_annotations

    one = Annotation("r1", "p1", "2 + 2?", "4", "bad", "five\u2028four\u0085", "edit", "me")
    write_annotations(checkout / "data/annotations.jsonl", [one])
    stage = Stage("cold_start", "cold_start", None, params={"cold_start": {"annotations": "data/annotations.jsonl"}})
    held = replace(books(checkout), stages={"cold_start": stage})
    assert held.annotations == ("data/annotations.jsonl", [one])


class TestBrowser:
    def test_a_damaged_set_is_listed_without_rows_and_the_others_with_theirs(self, checkout):
        browser = Browser(books(checkout))
        file = checkout / "data/09_candidates/candidates.parquet"
        file.write_bytes(file.read_bytes()[:-100])
        samples = browser.samples(2)
        damage = {s["name"]: s["damage"] for s in browser.sets()}
        assert samples["09_candidates/candidates"] == [] and len(samples["13_sft_data/examples"]) == 2
        assert samples["13_sft_data/examples"][0]["verdict"]["status"] == "ok", "other tables are still asked"
        assert {name for name, what in damage.items() if what} == {"09_candidates/candidates"}

    def test_answers_are_kept_by_their_bytes(self, template, monkeypatch):
        monkeypatch.setattr("tasks.provenance.audit.browse.KEPT_BYTES", 8 * 100)
        browser = Browser(books(template))
        for word in ("the", "think", "result"):
            assert browser.page("13_sft_data/examples", word, limit=1)["total"] <= 64
        assert 1 <= sum(n.nbytes for n in browser.numbers.values()) <= 8 * 100 and len(browser.numbers) < 3


class TestChecksums:
    def test_a_folder_that_was_emptied(self, checkout):
        held = books(checkout)
        for file in (checkout / "data/17_r1").iterdir():
            file.unlink()
        where, problem = found(held, "checksums")[0]
        assert where == "data/17_r1" and problem.startswith("is an empty folder, but dvc.lock says ")

    def test_a_flipped_byte_is_named_with_both_sums(self, checkout):
        held = books(checkout)
        file = checkout / "data/13_sft_data/examples.parquet"
        bytes = bytearray(file.read_bytes())
        bytes[200] ^= 1
        file.write_bytes(bytes)
        problems = found(held, "checksums")
        assert [where for where, _ in problems] == ["data/13_sft_data", "data/13_sft_data/examples.parquet"]
        assert "md5" in problems[0][1] and "sha256" in problems[1][1]

    def test_a_manifest_written_anew_does_not_hide_it_from_the_lock(self, checkout):
        held = books(checkout)
        edit(checkout, "13_sft_data/examples", lambda rows: rows[:-1])
        assert [where for where, _ in found(held, "checksums")] == ["data/13_sft_data"]

    def test_files_that_nobody_vouches_for_and_files_that_are_gone(self, checkout):
        (checkout / "data/14_dev3/more.safetensors").write_bytes(b"?")
        (checkout / "data/17_r1/model.safetensors").unlink()
        problems = dict(found(books(checkout), "checksums"))
        assert "nobody vouches" in problems["data/14_dev3/more.safetensors"]
        assert "not there" in problems["data/17_r1/model.safetensors"]

    def test_an_artifact_that_is_missing_or_in_no_lock(self, checkout):
        held = books(checkout)
        outs = {"data/17_r1": None}
        held = replace(held, stages=held.stages | {"r1": replace(held.stages["r1"], outs=outs)})
        (checkout / "metrics/dev3.json").unlink()
        problems = dict(found(held, "checksums"))
        assert "no md5" in problems["data/17_r1"] and problems["metrics/dev3.json"] == "is missing"

    def test_a_manifest_of_other_parameters_than_the_lock(self, checkout):
        held = with_params(books(checkout), "candidates", samples=8)
        assert found(held, "checksums") == [("data/09_candidates/manifest.json", "its params differs from what dvc.lock says made it")]  # fmt: skip


class TestChains:
    @pytest.mark.parametrize(
        "table, change, says",
        [
            ("13_sft_data/examples", lambda r: r[0].update(prompt_id="prompt_lost"), "names a prompt that is in no table"),
            ("13_sft_data/examples", lambda r: r[0].update(completion_id="completion_lost"), "names a completion that is in no table"),
            ("11_reasoning/examples", lambda r: r[0].update(prompt="Another question"), "its prompt is not the text"),
            ("11_reasoning/examples", lambda r: r[0].update(response="Another answer"), "its response is not the text of its completion"),
            ("12_non_reasoning/examples", lambda r: r[0].update(response="Another answer"), "not the reference solution"),
            ("11_reasoning/examples", lambda r: r[0].update(response="Another answer", origin=None), "its response is not the text of its completion"),
            ("11_reasoning/examples", lambda r: r[0].update(response="Another answer", origin="cold_start/direct"), "its response is not the text of its completion"),
            ("11_reasoning/examples", lambda r: r[0].update(source="general"), "its source or domain"),
            ("11_reasoning/examples", lambda r: r[0].update(source="general", origin=None), "its source or domain"),
            ("09_candidates/candidates", lambda r: r[0].update(model="f" * 64), "of no checkpoint that its stage reads"),
            ("09_candidates/candidates", lambda r: r[0].update(engine="imported", settings='{"source": "nobody"}'), "which is no declared source"),
            ("10_verdicts/verdicts", lambda r: r[0].update(completion_id="completion_lost"), "names a completion"),
            ("11_reasoning/decisions", lambda r: r[0].update(row_id="completion_lost"), "names a row that is in no table"),
            ("11_reasoning/near_duplicates", lambda r: r[0].update(kept_id="completion_lost"), "names a completion"),
            ("01_prompts/decisions", lambda r: r[0].update(row_id="row_lost"), "rejects a row that is of no declared source"),
            ("01_prompts/train", lambda r: r[0].update(source="unknown"), "'unknown', which is no declared source"),
            ("01_prompts/train", lambda r: r[0].update(licence="GPL-3.0"), "says licence 'GPL-3.0', its source sums says 'MIT'"),
            ("01_prompts/train", lambda r: r[0].update(origin="data/raw/other.jsonl:1"), "names no place in its source"),
            ("01_prompts/train", lambda r: r[0].update(origin=None), "names no place in its source"),
        ],
        ids=lambda v: v.replace("/", ".") if isinstance(v, str) and "/" in v else None,
    )  # fmt: skip
    def test_a_broken_link_is_named(self, checkout, table, change, says):
        edit(checkout, table, change)
        problems = found(checkout, "chains")
        assert (f"data/{table}.parquet", says) in [(w, says if says in p else p) for w, p in problems], problems

    def test_a_decision_on_a_revoked_source_leads_to_that_source(self, checkout):
        def decide(name):
            made = Tombstone("source", name, "no consent", "me", "2025-11-02").decision("prompts")
            return lambda rows: [*rows, made]

        edit(checkout, "01_prompts/decisions", decide("general"))
        edit(checkout, "09_candidates/decisions", decide("sums"))
        assert found(checkout, "chains", "counts") == []
        edit(checkout, "01_prompts/decisions", decide("nobody"))
        assert found(checkout, "chains") == [("data/01_prompts/decisions.parquet", "names a row that is in no table (row_id)")]  # fmt: skip

    def test_a_lost_prompt_breaks_every_row_that_answers_it(self, checkout):
        edit(checkout, "01_prompts/train", lambda rows: rows[1:])
        where = {w for w, _ in found(checkout, "chains")}
        assert {"data/09_candidates/candidates.parquet", "data/10_verdicts/verdicts.parquet"} <= where


class TestRowIds:
    @pytest.mark.parametrize(
        "table, column",
        [("01_prompts/train", "gold"), ("09_candidates/candidates", "text"), ("13_sft_data/examples", "response"),
         ("20_evaluate/r1/samples", "settings")],
        ids=lambda v: v.replace("/", "."),
    )  # fmt: skip
    def test_a_changed_row_no_longer_has_its_id(self, checkout, table, column):
        edit(checkout, table, lambda rows: rows[3].update({column: '{"changed": 1}'}))
        assert found(checkout, "row ids") == [(f"data/{table}.parquet", "is not the hash of its row")]

    def test_many_rows_are_shared_out_to_processes_with_the_same_findings(self, checkout, monkeypatch):
        from tasks.provenance.audit import row_ids

        monkeypatch.setattr(row_ids, "MANY", 0)
        edit(checkout, "01_prompts/train", lambda rows: [r.update(gold="none") for r in rows[:9]] and None)
        (check,) = audit(books(checkout), ["row ids"])
        (finding,) = check.violations
        assert (finding.where, finding.rows, len(finding.evidence)) == ("data/01_prompts/train.parquet", 9, 5)

    def test_a_row_that_stands_twice(self, checkout):
        edit(checkout, "13_sft_data/examples", lambda rows: [*rows, rows[0]])
        assert ("data/13_sft_data/examples.parquet", "stands twice") in found(checkout, "row ids")

    def test_a_copy_of_a_small_source_has_the_id_of_a_copy(self, checkout):
        from tasks.rows import row_id

        def again(rows):
            return [*rows, rows[0] | {"id": row_id("example", of=rows[0]["id"], copy=1)}]

        edit(checkout, "12_non_reasoning/examples", again)
        assert found(checkout, "row ids") == []


class TestCounts:
    @pytest.mark.parametrize(
        "table, stage, says",
        [
            ("01_prompts/train", "prompts", "sums: rows read = prompts + rejected"),
            ("10_verdicts/verdicts", "verdicts", "candidates = verdicts + without verdict"),
            ("11_reasoning/outcomes", "reasoning", "candidates of the stage before = outcomes"),
            ("11_reasoning/examples", "sft_data", "reasoning + non-reasoning = rows decided on"),
            ("13_sft_data/examples", "dev3", "examples learnt from + left out = rows of sft_data"),
            ("20_evaluate/r1/samples", "evaluate@r1", "samples = problems × k"),
        ],
        ids=lambda v: v.replace("/", ".") if "/" in v else None,
    )
    def test_a_row_that_vanished_unbalances_an_equation(self, checkout, table, stage, says):
        edit(checkout, table, lambda rows: rows[1:])
        assert (stage, says) in found(checkout, "counts")

    def test_metrics_that_state_another_number(self, checkout):
        edit_json(checkout / "metrics/reasoning.json", lambda m: m.update(kept=49))
        assert {says for _, says in found(checkout, "counts")} == {
            "candidates = kept + rejected",
            "outcomes that are kept",
        }

    def test_metrics_without_a_count_are_a_finding_not_a_crash(self, checkout):
        edit_json(checkout / "metrics/sft_data.json", lambda m: m.pop("left_out"))
        assert found(checkout, "counts") == [("sft_data", "its metrics or tables lack what is counted")]


class TestContamination:
    def test_a_training_prompt_that_is_a_final_problem_but_for_case_and_spacing(self, checkout):
        def plant(rows):
            rows[5]["prompt"] = "compute  77 + 77 - 12"  # the final split begins at 60

        edit(checkout, "13_sft_data/examples", plant)
        where = "data/13_sft_data/examples.parquet"
        assert found(checkout, "contamination") == [(where, "its prompt is an evaluation item (prompt_exact)")]

    def test_a_row_on_a_prompt_of_the_final_split(self, checkout):
        import pyarrow.parquet as pq

        final = pq.read_table(checkout / "data/01_final/final.parquet")["id"][7].as_py()
        edit(checkout, "11_reasoning/examples", lambda rows: rows[0].update(prompt_id=final))
        assert found(checkout, "contamination") == [("data/11_reasoning/examples.parquet", "is on a prompt of the final split")]  # fmt: skip

    def test_a_response_that_holds_most_of_an_item(self, checkout):
        edit(
            checkout,
            "13_sft_data/examples",
            lambda rows: rows[2].update(response=f"<think> I recall: {LONG}. </think> 9"),
        )
        assert found(checkout, "contamination") == [("data/13_sft_data/examples.parquet", "its response holds an evaluation item (text_coverage)")]  # fmt: skip

    def test_a_prompt_that_shares_the_n_grams_of_an_item(self, checkout):
        edit(checkout, "12_non_reasoning/examples", lambda rows: rows[2].update(prompt=f"Please: {LONG}. How many?"))
        assert found(checkout, "contamination") == [("data/12_non_reasoning/examples.parquet", "its prompt is an evaluation item (prompt_ngram)")]  # fmt: skip

    def test_an_index_that_lacks_a_final_problem(self, checkout):
        edit(checkout, "01_prompts/benchmarks/items", lambda rows: rows[0].update(item="another"))
        assert found(checkout, "contamination") == [("data/01_final/final.parquet", "is not in the published index of evaluation items")]  # fmt: skip

    def test_responses_that_the_index_cannot_be_held_against(self, template):
        held = with_params(books(template), "reasoning", decontamination={"text_ngram": 14})
        assert found(held, "contamination") == [("data/01_prompts/benchmarks", "has no 14-grams: no response was compared")]  # fmt: skip

    def test_judgements_that_the_judge_learns_from_on_final_problems(self, checkout):
        from tasks.prompts.judgements import pairs
        from tasks.rows import derive_seed

        asked = next(iter(pairs(derive_seed(3, "judge"), 12))).question
        edit(checkout, "01_final/final", lambda rows: rows[0].update(text=asked))
        held = books(checkout)
        judge = Stage("judge", "judge", None, params={"seed": 3, "judge": {"pairs": 10, "held_out": 2}})
        held = replace(held, stages=held.stages | {"judge": judge})
        assert ("data/01_final/final.parquet", "is not in the published index of evaluation items") in found(held, "contamination")  # fmt: skip
        import pyarrow as pa

        from tasks.curation.contamination_keys import letter_keys

        key = letter_keys(pa.array([asked]))[0].as_py()
        edit(checkout, "01_prompts/benchmarks/items", lambda rows: rows[0].update(normal=key))
        assert found(held, "contamination") == [("judge", "a question it is trained on is an evaluation item")]


class TestProtocols:
    @pytest.mark.parametrize(
        "change, says",
        [
            (lambda r: [*r[1:]], "does not have k = 4 samples of each problem"),
            (lambda r: r[0].update(settings=r[0]["settings"].replace('"temperature": 1.0', '"temperature": 0.6')), "was sampled with another temperature"),
            (lambda r: r[0].update(model="f" * 64), "was sampled from other weights"),
        ],
        ids=["samples", "temperature", "weights"],
    )  # fmt: skip
    def test_samples_that_do_not_bear_out_the_protocol(self, checkout, change, says):
        edit(checkout, "20_evaluate/r1/samples", change)
        ((where, problem),) = found(checkout, "protocols")
        assert where == "data/20_evaluate/r1/samples.parquet" and says in problem

    def test_a_score_that_its_verdicts_do_not_give(self, checkout):
        edit_json(checkout / "metrics/evaluate/r1.json", lambda m: m.update(pass_at_1=0.6))
        assert found(checkout, "protocols") == [("metrics of evaluate@r1", "pass@1 is stated as 0.6, its verdicts give 0.5")]  # fmt: skip

    def test_verdicts_of_another_verifier(self, checkout):
        edit(checkout, "20_evaluate/r1/verdicts", lambda rows: [r.update(verifier="other") for r in rows] and None)
        ((where, problem),) = found(checkout, "protocols")
        assert where == "data/20_evaluate/r1/verdicts.parquet" and "verified by ['other']" in problem

    def test_two_models_under_two_protocols(self, checkout):
        held = books(checkout)
        for other, tokens in (("r2", 32768), ("r3", 128)):
            shutil.copytree(checkout / "data/20_evaluate/r1", checkout / f"data/20_evaluate/{other}")
            manifest = checkout / f"data/20_evaluate/{other}/manifest.json"
            edit_json(manifest, lambda m, other=other: m.update(stage=f"evaluate@{other}"))
            shutil.copy(checkout / "metrics/evaluate/r1.json", checkout / f"metrics/evaluate/{other}.json")
            edit_json(
                checkout / f"metrics/evaluate/{other}.json",
                lambda m, tokens=tokens: m["protocol"].update(max_tokens=tokens),
            )
            stage = replace(held.stages["evaluate@r1"], stage=f"evaluate@{other}", item=other,
                            outs={f"data/20_evaluate/{other}": None, f"metrics/evaluate/{other}.json": None})  # fmt: skip
            held = replace(held, stages=held.stages | {stage.stage: stage})
        problems = found(held, "protocols")
        assert ("evaluate@r3", "was measured under another protocol than the others") in problems
        assert {where.split("/")[-2] if "/" in where else where for where, _ in problems} == {"evaluate@r3", "r3"}


class TestRepository:
    def test_what_decides_a_result_must_be_committed_and_the_rest_is_remarked(self, template):
        held = replace(books(template), dirty=("README.md", "dvc.lock", "tasks/rows.py"))
        (check,) = audit(held, ["git clean"])
        assert [f.where for f in check.violations] == ["dvc.lock", "tasks/rows.py"]
        assert [f.where for f in check.remarks] == ["README.md"]

    def test_no_commit_at_all(self, template):
        assert found(replace(books(template), commit=None), "git clean")[0][0] == "."

    def test_stages_that_are_out_of_date_stand_under_what_changed(self, template):
        held = books(template)
        old = {s: replace(held.stages[s], changes=("tasks/rows.py has changed",)) for s in ("r1", "dev3")}
        (check,) = audit(replace(held, stages=held.stages | old), ["up to date"])
        (finding,) = check.violations
        assert (finding.where, finding.rows, set(finding.evidence)) == ("tasks/rows.py has changed", 2, {"dev3", "r1"})
