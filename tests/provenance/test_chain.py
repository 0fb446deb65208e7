"""The chain of every kind of row, on tables in the shape of the DAG's with planted fates, and on rows that people wrote."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.dag_tables import generate
from tasks.curation.annotation import Annotation, read_annotations, write_annotations
from tasks.curation.examples import example
from tasks.provenance import texts
from tasks.provenance.artifacts import ArtifactError, read_rows, write_manifest, write_rows
from tasks.provenance.books import Books, UnknownRow, resolve
from tasks.provenance.chain import chain
from tasks.rows import COMPLETION, DECISION, PREFERENCE_PAIR, PROMPT, SAFETY_LABEL, SFT_EXAMPLE, row_id

READERS = {
    "data/06_cold_start": ["data/07_dev1"], "data/13_sft_data": ["data/14_dev3", "data/18_distill/qwen"],
    "data/14_dev3": ["data/17_r1"], "data/15_preferences": ["data/16_reward_models"],
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict]:
    """(folder, planted answers); 480 candidates."""
    folder = tmp_path_factory.mktemp("books")
    planted = generate(folder, 480, 120, too_long=20)
    for name in ("07_dev1", "16_reward_models"):
        (folder / "data" / name).mkdir()
        (folder / "data" / name / "model.safetensors").write_bytes(name.encode())
        write_manifest(folder / "data" / name, stage=name[3:], params={})
    people(folder)
    labels(folder)
    return folder, planted


def people(folder: Path) -> None:
    """Two annotated rows, the second rejected."""
    notes = [
        Annotation("completion_" + "ab" * 16, "prompt_x", "What is 2?", "2", "two", "It is 2.", "edit", "ann"),
        Annotation("completion_" + "cd" * 16, "prompt_y", "What is 3?", "3", "three", None, "reject", "ann"),
    ]
    write_annotations(folder / "data/annotations/cold_start.jsonl", notes)
    decisions = []
    for a in notes:
        row = row_id("annotation", of=a.id, annotator=a.annotator, response=a.response)
        keep = a.response is not None
        decisions.append(
            dict(zip(DECISION.names, (row, "cold_start", "accepted", float(keep), 1.0, keep, "annotator ann")))
        )
    prompt = {"id": "prompt_x", "source": "annotations", "domain": "maths", "text": "What is 2?", "origin": ""}
    there = folder / "data/06_cold_start"
    write_rows(there, "examples", [example(prompt, "It is 2.", None, f"annotation/ann/{notes[0].id}")], SFT_EXAMPLE)
    write_rows(there, "decisions", decisions, DECISION)
    write_manifest(
        there, stage="cold_start", params={"cold_start": {"annotations": "data/annotations/cold_start.jsonl"}}
    )


def labels(folder: Path) -> None:
    prompt = next(p for p in read_rows(folder / "data/01_prompts", "train", PROMPT) if p["source"] == "general")
    both = {"prompt_id": prompt["id"], "split": "train", "prompt": prompt["text"], "labelled_by": "procedural-oracle"}
    pair = both | {"id": "pair_" + "1" * 32, "chosen": "A fine answer.", "rejected": "No.", "fault": "rude", "gap": 1.0}
    label = both | {"id": "label_" + "2" * 32, "response": "A fine answer.", "safe": True}
    write_rows(folder / "data/15_preferences", "pairs", [pair], PREFERENCE_PAIR)
    write_rows(folder / "data/15_preferences", "labels", [label], SAFETY_LABEL)
    write_manifest(folder / "data/15_preferences", stage="preferences", params={})


@pytest.fixture(scope="module")
def books(made, tmp_path_factory) -> Books:
    opened = Books(made[0], tmp_path_factory.mktemp("index"), READERS)
    opened.index.build()
    texts.build(opened)
    assert not opened.index.missing()
    return opened


FAILS = {"truncated": (0.0, 1.0), "mixed_language": (0.5, 0.999), "text_coverage": (0.75, 0.5), "verdict": (0.0, 1.0)}


@pytest.mark.parametrize("rule", FAILS)
def test_a_rejected_candidate_tells_the_rule_with_value_and_threshold(books, made, rule):
    planted = made[1][rule]
    found = chain(books, planted["id"])
    assert found["fate"] == f"rejected by {rule} ({found['decisive']['stage']}) in data/11_reasoning"
    assert (found["decisive"]["value"], found["decisive"]["threshold"]) == FAILS[rule]
    assert len(found["decisions"]) == 14 and sum(not d["keep"] for d in found["decisions"]) == 1
    assert found["sets"] == [] and found["checkpoints"] == []
    assert found["prompt"]["id"] == planted["prompt_id"]


def test_a_kept_candidate_tells_all_that_led_to_it_and_where_it_ended(books, made):
    folder, planted = made
    id = planted["kept"]["id"]
    found = chain(books, id)
    [row] = [r for r in read_rows(folder / "data/09_candidates", "candidates", COMPLETION) if r["id"] == id]
    assert found["row"] == row and found["decisive"] is None
    assert found["completion"]["checkpoint"] == "data/08_dev2" and found["completion"]["settings"]["seed"] == 7
    source = found["prompt"]["source_entry"]
    assert (source["path"], source["licence"]) == ("data/raw/sums.jsonl", "MIT")
    assert found["prompt"]["origin"].startswith("data/raw/sums.jsonl:")
    verdict = found["verdict"]
    assert verdict["status"] == "ok" and verdict["extracted"] == verdict["gold"] and verdict["verifier"]
    assert [s["index"] for s in found["siblings"]] == [1, 2, 3]
    assert [s["rule"] for s in found["siblings"][:2]] == ["near_within_prompt", "verdict"]
    assert [(d["id"], d["kept"]) for d in found["duplicates"]] == [(found["siblings"][0]["id"], False)]
    assert [d["rule"] for d in found["contamination"]] == ["prompt_exact", "text_coverage"]
    assert {s["artifact"] for s in found["sets"]} <= {"data/11_reasoning", "data/13_sft_data"}
    assert {c["artifact"] for c in found["checkpoints"]} == {"data/14_dev3", "data/18_distill/qwen", "data/17_r1"}
    assert next(c for c in found["checkpoints"] if c["artifact"] == "data/17_r1")["how"] == "made from data/14_dev3"


def test_the_texts_of_the_sets_are_not_read_for_a_candidate(books, made, monkeypatch):
    read, rows = [], books.files.rows
    spied = lambda file, numbers, columns=None: read.append((file, columns)) or rows(file, numbers, columns)
    monkeypatch.setattr(books.files, "rows", spied)
    found = chain(books, made[1]["kept"]["id"])
    assert [s["artifact"] for s in found["sets"]] == ["data/11_reasoning", "data/13_sft_data"]
    sets = [columns for file, columns in read if file.name == "examples.parquet"]
    assert sets and all(columns and not {"prompt", "response"} & set(columns) for columns in sets)


def test_a_duplicate_names_the_one_that_was_kept(books, made):
    planted = made[1]["near_within_prompt"]
    found = chain(books, planted["id"])
    [other] = found["duplicate_of"]
    assert (other["id"], other["kept"], other["jaccard"]) == (planted["kept_id"], True, 0.95)


def test_a_contaminated_one_names_the_problem_of_the_evaluation(books, made):
    found = chain(books, made[1]["text_coverage"]["id"])
    [evidence] = [d["evidence"] for d in found["contamination"] if not d["keep"]]
    problem = evidence.split()[1]
    assert chain(books, problem)["prompt"]["split"] == "final"


def test_a_row_that_never_became_a_prompt(books, made):
    planted = made[1]["dropped_prompt"]
    found = chain(books, planted["id"])
    assert found["kind"] == "dropped_prompt" and found["fate"] == "dropped by duplicate before any sampling"
    assert found["repeats"]["id"] == planted["kept_id"] and found["prompt"] is None
    kept = chain(books, planted["kept_id"])
    assert [d["row_id"] for d in kept["dropped_repeats"]] == [planted["id"]]
    name = found["decisive"]["evidence"].partition(": ")[0]
    assert resolve(books, name) == planted["id"]


def test_an_example_that_was_too_long_for_the_union(books, made):
    found = chain(books, made[1]["too_long"]["id"])
    assert found["fate"] == "rejected by max_tokens (sft_data) in data/13_sft_data"
    assert [s["artifact"] for s in found["sets"]] == ["data/11_reasoning"] and found["checkpoints"] == []
    assert len(found["decisions"]) == 15 and found["completion"]


def test_an_example_leads_to_its_completion(books, made):
    planted = made[1]["example"]
    found = chain(books, planted["id"])
    assert found["kind"] == "sft_example" and found["completion"]["id"] == planted["completion_id"]
    general = chain(books, made[1]["general_example"]["id"])
    assert general["completion"] is None and general["prompt"]["id"] == made[1]["general_example"]["prompt_id"]
    assert [d["rule"] for d in general["decisions"]] == ["max_tokens", "drawn"]


def test_a_prompt_lists_every_completion_and_set(books, made):
    found = chain(books, made[1]["prompt"]["id"])
    assert len(found["samples"]) == 4 and {s["checkpoint"] for s in found["samples"]} == {"data/08_dev2"}
    assert found["fate"] == "a prompt of split train, asked 4 times"
    assert resolve(books, f"{found['row']['source']} {found['row']['origin']}") == found["id"]


def test_a_prompt_is_not_rejected_because_one_of_its_examples_was(books, made):
    """An example that was too long for the union: its decision is its own."""
    left_out = chain(books, made[1]["too_long"]["id"])
    found = chain(books, left_out["prompt"]["id"])
    assert left_out["decisive"]["rule"] == "max_tokens" and found["decisive"] is None and found["decisions"] == []
    assert found["fate"] == "a prompt of split train, asked 4 times"


def test_a_completion_of_an_evaluation_is_in_no_set(books, made):
    found = chain(books, made[1]["evaluated"]["id"])
    assert found["completion"]["checkpoint"] == "data/17_r1" and found["verdict"] and len(found["siblings"]) == 3
    assert found["fate"] == "a sample of an evaluation: no set may hold it" and found["sets"] == []


def test_pairs_and_labels(books):
    pair, label = chain(books, "pair_" + "1" * 32), chain(books, "label_" + "2" * 32)
    assert pair["kind"] == "preference_pair" and label["kind"] == "safety_label"
    for found in (pair, label):
        assert found["prompt"]["source"] == "general"
        assert found["checkpoints"] == [
            {"artifact": "data/16_reward_models", "stage": "reward_models", "how": "trained on data/15_preferences"}
        ]


def test_a_row_that_was_reviewed_after_the_stage_ran(made, tmp_path):
    """No decision names it yet, and its text holds signs that str.splitlines takes for ends of lines."""
    shutil.copytree(made[0] / "data", tmp_path / "data")
    store = tmp_path / "data/annotations/cold_start.jsonl"
    new = Annotation("completion_" + "ef" * 16, "prompt_z", "What is\u2028 4?", "4", "fo\x85ur", None, "accept", "ann")
    write_annotations(store, [*read_annotations(store), new])
    books = Books(tmp_path, tmp_path / "index")
    books.index.build()
    found = chain(books, books.annotations[-1]["row_id"])
    assert (found["kind"], found["annotation"]["line"], found["fate"]) == ("annotation", 3, "no rule decided on it")
    store.write_text("{")
    with pytest.raises(ArtifactError, match="cold_start.jsonl:1: is no JSON"):
        chain(Books(tmp_path, tmp_path / "index"), "annotation_" + "0" * 32)


def test_a_folder_that_no_stage_writes_any_more_is_no_book(made, tmp_path):
    assert "data/14_dev3" in Books(made[0], tmp_path).manifests
    assert list(Books(made[0], tmp_path, outs=["data/01_prompts", "data/02_none"]).manifests) == ["data/01_prompts"]


def test_rows_that_people_wrote(books):
    edited = chain(books, "completion_" + "ab" * 16)
    assert edited["annotation"]["line"] == 1 and edited["annotation"]["text"] == "two"
    assert [s["artifact"] for s in edited["sets"]] == ["data/06_cold_start"]
    assert [c["artifact"] for c in edited["checkpoints"]] == ["data/07_dev1"]
    assert chain(books, edited["sets"][0]["id"])["annotation"] == edited["annotation"]
    rejected = chain(books, "completion_" + "cd" * 16)
    assert rejected["annotation"]["verdict"] == "reject" and rejected["sets"] == []
    assert rejected["fate"] == "rejected by accepted (cold_start) in data/06_cold_start"


def test_an_id_by_its_first_digits_and_what_comes_near(books, made):
    id = made[1]["kept"]["id"]
    digits = id.partition("_")[2]
    assert resolve(books, id[:28]) == resolve(books, digits[:16]) == id
    with pytest.raises(UnknownRow) as failed:
        resolve(books, id[:-1] + ("0" if id[-1] != "0" else "1"))
    assert failed.value.near[0] == id and "tables in" in str(failed.value)
    with pytest.raises(UnknownRow, match="no id comes near"):
        resolve(books, "quite another thing")


def test_texts_exact_then_normalised_then_nearest(books, made):
    row = chain(books, made[1]["kept"]["id"])["row"]
    for match, text in {
        "exact": row["text"],
        "normalised": row["text"].upper().replace(" ", "  "),
        "nearest": row["text"][: len(row["text"]) * 4 // 5],
    }.items():
        found = texts.find(books, text)
        assert (found["match"], found["unread"]) == (match, 0) and row["id"] in {h["id"] for h in found["rows"]}
    assert found["rows"][0]["similarity"] > 0.5
    assert texts.find(books, "zq xj vw") == {"match": "none", "rows": [], "unread": 0}


def test_of_very_many_equal_texts_the_unread_ones_are_counted(tmp_path, monkeypatch):
    rows = [dict.fromkeys(COMPLETION.names) | {"id": row_id("completion", i=i), "text": "The same."} for i in range(5)]
    write_rows(tmp_path / "data/c", "candidates", rows, COMPLETION)
    write_manifest(tmp_path / "data/c", stage="candidates")
    books = Books(tmp_path, tmp_path / "index")
    texts.build(books)
    monkeypatch.setattr(texts, "SCANNED", 2)
    found = texts.find(books, "The same.")
    assert (found["match"], len(found["rows"]), found["unread"]) == ("exact", 2, 3)


def test_signs_of_arithmetic_count_in_texts():
    assert texts.normal("3 + 4") != texts.normal("3 - 4")
    assert texts.normal("Is 3 + 4\n seven?") == "is3+4seven"


def test_a_rebuilt_table_is_indexed_anew_and_the_old_keys_go(made, tmp_path):
    shutil.copytree(made[0] / "data", tmp_path / "data")
    first = Books(tmp_path, tmp_path / "index")
    first.index.build()
    before = {p.name for p in (tmp_path / "index").iterdir()}
    folder = tmp_path / "data/12_non_reasoning"
    rows = read_rows(folder, "examples", SFT_EXAMPLE)
    new = row_id("example", of="a new one")
    write_rows(folder, "examples", [rows[0] | {"id": new}, *rows[1:]], SFT_EXAMPLE)
    write_manifest(folder, stage="non_reasoning", params={})
    second = Books(tmp_path, tmp_path / "index")
    assert {t.name for t, _ in second.index.missing()} == {"examples"}
    second.index.build()
    assert chain(second, new)["id"] == new
    after = {p.name for p in (tmp_path / "index").iterdir()}
    assert len(before - after) == len(after - before) == 3  # id, prompt_id, completion_id
    assert "data/12_non_reasoning" not in {s["artifact"] for s in chain(second, rows[0]["id"])["sets"]}


def test_a_damaged_table_is_named_and_never_indexed_under_its_good_name(made, tmp_path):
    shutil.copytree(made[0] / "data", tmp_path / "data")
    file = tmp_path / "data/12_non_reasoning/examples.parquet"
    good, [other] = file.read_bytes(), read_rows(file.parent, "examples", SFT_EXAMPLE)[:1]
    pq.write_table(pq.read_table(file)[1:], file)  # readable, with every row one place off
    books = Books(tmp_path, tmp_path / "index")
    for build in (books.index.build, lambda: texts.build(books)):
        with pytest.raises(ArtifactError, match="12_non_reasoning/examples.parquet is damaged"):
            build()
    file.write_bytes(good)
    books.index.build()
    assert chain(books, other["id"])["row"] == other
    file.write_bytes(good[:-100])
    with pytest.raises(ArtifactError, match="12_non_reasoning/examples.parquet cannot be read"):
        chain(Books(tmp_path, tmp_path / "index"), other["id"])
    last = read_rows(made[0] / "data/12_non_reasoning", "examples", SFT_EXAMPLE)[-1]
    pq.write_table(pq.read_table(made[0] / "data/12_non_reasoning/examples.parquet")[:-1], file)
    with pytest.raises(ArtifactError, match="has fewer rows"):
        chain(Books(tmp_path, tmp_path / "index"), last["id"])
