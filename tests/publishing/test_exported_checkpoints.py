"""Exported checkpoints load in transformers as they are: the same tokens, the same logits, our prompt as chat template."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.prompts.chat import chat_template, user
from tasks.prompts.templates import TEMPLATES, render
from tasks.publishing.export import export
from tasks.publishing.facts import facts_of
from tasks.publishing.loading import PROBES, loads_as_trained
from tasks.training import checkpoints
from tests.publishing.conftest import books_at


@pytest.fixture(scope="module")
def folder(published, tmp_path_factory):
    target = tmp_path_factory.mktemp("checkpoint") / "r1"
    export(facts_of(books_at(published), "r1", "data/17_r1"), target)
    return target


@pytest.mark.parametrize("trust", [False, True], ids=["no-code", "remote-code"])
def test_auto_tokenizer_gives_the_tokens_of_training(folder, published, trust, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path))
    _, ours = checkpoints.load(published / "data/17_r1")
    theirs = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    for text in PROBES:
        assert theirs(text)["input_ids"] == ours(text)["input_ids"]
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.padding_side) == (
        ours.eos_token_id,
        ours.pad_token_id,
        "left",
    )


def test_a_stages_own_checkpoint_gives_them_as_it_is(published):
    assert loads_as_trained(published / "data/17_r1")


def test_without_a_class_of_its_own_transformers_would_cut_the_text_otherwise(published, tmp_path):
    """Why checkpoints name one: should this fail, transformers has been mended and it can go."""
    copy = shutil.copytree(published / "data/17_r1", tmp_path / "copy")
    path = copy / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"tokenizer_class": "TokenizersBackend"}
    del settings["auto_map"]
    path.unlink()
    path.write_text(json.dumps(settings))
    assert not loads_as_trained(copy)


def test_the_weights_give_the_same_logits(folder, published):
    ours, tokenizer = checkpoints.load(published / "data/17_r1")
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer(render("bare", "Compute 5 A+1 B-2."), return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(theirs(ids).logits, ours(ids).logits)


def test_our_own_stages_can_start_from_an_export(folder, tmp_path):
    from tasks.training.settings import Model

    checkpoints.fetch(Model(path=str(folder)), tmp_path / "base")
    _, tokenizer = checkpoints.load(tmp_path / "base")
    assert tokenizer.apply_chat_template([user("?")], tokenize=False, add_generation_prompt=True) == render("bare", "?")


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_the_chat_template_renders_the_prompt_to_the_letter(folder, template, tmp_path):
    target = shutil.copytree(folder, tmp_path / "copy")
    (target / "chat_template.jinja").write_text(chat_template(template))
    tokenizer = AutoTokenizer.from_pretrained(target)
    for question in ("2+2?", '  {question} "quoted" \\n\n中文 \n', "{{ messages }}"):
        text = tokenizer.apply_chat_template([user(question)], tokenize=False, add_generation_prompt=True)
        assert text == render(template, question)
    with pytest.raises(Exception, match="no message of role system"):
        tokenizer.apply_chat_template([{"role": "system", "content": "?"}], tokenize=False)


def test_no_manifest_and_no_weights_in_another_format_leave(folder):
    assert {p.name for p in folder.iterdir()} == {
        "README.md", "lineage.json", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja", "tokenization_r1flow.py",
    }  # fmt: skip
