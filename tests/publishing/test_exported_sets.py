"""Exported sets: `datasets` loads them, they are the artifact's rows, and TRL trains on them as they stand."""

import json

import pyarrow.parquet as pq
import pytest

from tasks.curation.examples import read_examples
from tasks.prompts.templates import render
from tasks.provenance.artifacts import ArtifactError
from tasks.publishing import export as module
from tasks.publishing.export import export
from tasks.publishing.facts import facts_of
from tasks.publishing.formats import shape
from tests.publishing.conftest import books_at


def facts(root, stage="sft_data", path="data/13_sft_data"):
    return facts_of(books_at(root), stage, path)


@pytest.fixture(scope="module")
def exported(published, tmp_path_factory):
    """The SFT set in TRL's format, and R1, as two folders."""
    folder = tmp_path_factory.mktemp("exported")
    export(facts(published), folder / "sft")
    export(facts(published, "r1", "data/17_r1"), folder / "r1")
    return folder


@pytest.fixture
def loaded(exported, tmp_path):
    from datasets import load_dataset

    return load_dataset(str(exported / "sft"), cache_dir=str(tmp_path / "cache"))


def test_the_folder_and_its_parquet_load_as_the_artifacts_rows(exported, loaded, published, tmp_path):
    from datasets import load_dataset

    rows = read_examples(published / "data/13_sft_data")
    assert list(loaded) == ["train"] and len(rows) > 50
    assert [(r["id"], r["messages"]) for r in loaded["train"]] == [
        (r["id"], [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["response"]}])
        for r in rows
    ]
    licences = {"sums": "MIT", "general": "CC-BY-4.0"}
    assert loaded["train"]["licence"] == [licences[r["source"]] for r in rows]
    files = {"train": str(exported / "sft/data/*.parquet")}
    plain = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert plain["train"].to_list() == loaded["train"].to_list()


def test_trl_trains_on_the_exported_set_from_the_exported_checkpoint(exported, loaded, tmp_path):
    """One step of plain TRL on nothing but the two folders; the loss is on the responses and nowhere else."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(exported / "r1"),
        AutoTokenizer.from_pretrained(exported / "r1"),
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = SFTConfig(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4, learning_rate=1e-2, report_to="none",
        bf16=False, gradient_checkpointing=False, assistant_only_loss=True, max_length=512, use_cpu=True, save_strategy="no",
        disable_tqdm=True, logging_steps=1,
    )  # fmt: skip
    some = loaded["train"].select(range(8))
    trainer = SFTTrainer(model=model, args=config, train_dataset=some, processing_class=tokenizer)
    for row, encoded in zip(some, trainer.train_dataset, strict=True):
        question, answer = (m["content"] for m in row["messages"])
        prompt = tokenizer(render("bare", question), add_special_tokens=False)["input_ids"]
        response = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        assert encoded["input_ids"] == prompt + response
        assert encoded["labels"] == [-100] * len(prompt) + response
    loss = trainer.train().training_loss
    assert 0 < loss < 20 and any(not torch.equal(before[n], p) for n, p in model.named_parameters())


def test_the_text_format_is_what_is_trained_on(published, tmp_path):
    found = export(facts(published), tmp_path / "out", "sft")
    rows = pq.read_table(tmp_path / "out/data/train-00000-of-00001.parquet").to_pylist()
    for row, example in zip(rows, read_examples(published / "data/13_sft_data"), strict=True):
        assert (row["prompt"], row["completion"]) == (render("bare", example["prompt"]), example["response"])
    assert found["format"] == "sft" and set(found["files"]) == {"README.md", "data/train-00000-of-00001.parquet"}


def test_the_tables_as_they_are_are_a_config_each(published, tmp_path):
    from datasets import load_dataset

    export(facts(published), tmp_path / "out", "rows")
    for name in ("examples", "decisions"):
        there = pq.read_table(published / f"data/13_sft_data/{name}.parquet").to_pylist()
        assert load_dataset(str(tmp_path / "out"), name, cache_dir=str(tmp_path / "c"))["train"].to_list() == there


def test_prompts_are_splits_and_conversations(published, tmp_path):
    export(facts(published, "prompts", "data/01_prompts"), tmp_path / "bank")
    train = pq.read_table(tmp_path / "bank/data/train-00000-of-00001.parquet").to_pylist()
    bank = pq.read_table(published / "data/01_prompts/train.parquet").to_pylist()
    assert [(r["prompt"], r["gold"]) for r in train] == [
        ([{"role": "user", "content": r["text"]}], r["gold"]) for r in bank
    ]
    export(facts(published, "prompts", "data/01_final"), tmp_path / "final")
    assert [p.name for p in (tmp_path / "final/data").iterdir()] == ["test-00000-of-00001.parquet"]


@pytest.mark.parametrize(
    ("kind", "row", "texts"),
    [
        ("preference_pair", {"prompt": "q", "chosen": "a", "rejected": "b", "gap": 1.5}, {"prompt": "q", "chosen": "a", "rejected": "b"}),
        ("safety_label", {"prompt": "q", "response": "a", "safe": False}, {"prompt": "q", "completion": "a"}),
    ],
    ids=["pairs", "labels"],
)  # fmt: skip
def test_preferences_are_conversations_to_trl(kind, row, texts):
    from trl import is_conversational

    schema, make = shape("trl", kind, None, {})
    made = make({"id": "i", "prompt_id": "p", "labelled_by": "oracle"} | row)
    assert set(made) == set(schema.names) and is_conversational(made)
    assert {name: made[name][0]["content"] for name in texts} == texts
    assert made.get("label", False) is False and made.get("gap", 1.5) == 1.5


def test_large_sets_are_cut_into_shards_that_load_as_one(published, tmp_path, monkeypatch):
    from datasets import load_dataset

    monkeypatch.setattr(module, "SHARD_BYTES", 1000)
    monkeypatch.setattr(module, "ROW_GROUP", 16)
    export(facts(published), tmp_path / "out")
    shards = sorted(p.name for p in (tmp_path / "out/data").iterdir())
    assert len(shards) > 2 and shards[0] == f"train-00000-of-{len(shards):05}.parquet"
    rows = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    assert rows["id"][:] == [r["id"] for r in read_examples(published / "data/13_sft_data")]


def test_the_same_artifact_gives_the_same_bytes_and_replaces_an_older_export(published, tmp_path):
    first = export(facts(published), tmp_path / "out", "rows")
    second = export(facts(published), tmp_path / "out")
    assert second == export(facts(published), tmp_path / "again") != first
    on_disk = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert (
        on_disk
        == {*second["files"], "lineage.json"}
        == {"README.md", "lineage.json", "data/train-00000-of-00001.parquet"}
    )
    assert json.loads((tmp_path / "out/lineage.json").read_text()) == json.loads(json.dumps(second))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "out"]


def test_what_is_no_export_is_not_touched_and_what_is_damaged_not_exported(checkout, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("all of it")
    with pytest.raises(ArtifactError, match="mine is there and is no earlier export"):
        export(facts(checkout), tmp_path / "mine")
    assert (tmp_path / "mine/thesis.tex").read_text() == "all of it"
    export(facts(checkout), tmp_path / "mine too")
    (tmp_path / "mine too/NOTES.md").write_text("my own")
    with pytest.raises(ArtifactError, match="mine too is an earlier export, but NOTES.md in it is not of it and would"):
        export(facts(checkout), tmp_path / "mine too")
    assert (tmp_path / "mine too/NOTES.md").read_text() == "my own"
    with pytest.raises(ArtifactError, match="could not be written to .*thesis.tex/out: Not a directory"):
        export(facts(checkout), tmp_path / "mine/thesis.tex/out")
    with pytest.raises(ArtifactError, match="has no format 'trl'; it has rows"):
        export(facts(checkout, "verdicts", "data/10_verdicts"), tmp_path / "out", "trl")
    file = checkout / "data/13_sft_data/examples.parquet"
    found = facts(checkout)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(ArtifactError, match="examples.parquet is damaged"):
        export(found, tmp_path / "out")
    assert not (tmp_path / "out").exists()
