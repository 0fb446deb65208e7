"""Pretraining from scratch: deterministic, resumable, never on held-out prompts."""

import pytest
import torch

from tasks.prompts.corpus import pretraining_set
from tasks.prompts.split import HELD_OUT, held_out, split_of
from tasks.training import checkpoints, pretrain
from tasks.training.pretrain import Muon, Pretraining, pretrain_checkpoint
from tasks.training.settings import Pretrain

TEXT = pretraining_set("bare")


@pytest.mark.parametrize("phase", ["clean", "noisy"])
def test_no_held_out_prompt_in_the_corpus(phase):
    import re

    questions = set()
    for d in TEXT.documents(5, 4000, phase):
        questions |= set(re.findall(r"User: (.*?)(?: and check)?\nAssistant", d.prompt))
    sums = [q for q in questions if q.startswith("Compute")]
    assert len(sums) > 1500
    assert not [q for q in questions if held_out(q)]


def test_split_shares_and_bands():
    texts = [f"Compute {i} A+1" for i in range(20_000)]
    splits = [split_of(t, 0.05, 0.10) for t in texts]
    assert splits.count("final") / len(texts) == pytest.approx(0.10, abs=0.01)
    assert splits.count("validation") / len(texts) == pytest.approx(0.05, abs=0.01)
    assert all(held_out(t) for t, s in zip(texts, splits, strict=True) if s != "train")
    with pytest.raises(ValueError, match=str(HELD_OUT)):
        split_of("x", 0.15, 0.1)


def test_white_space_does_not_move_a_prompt_between_splits():
    assert split_of("Compute  1\n A+1", 0.05, 0.1) == split_of("Compute 1 A+1", 0.05, 0.1)


def test_resumed_pretraining_has_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "SAVE_EVERY", 2)
    p = Pretrain(hidden=16, layers=1, heads=2, tokens=5 * 30_000)
    _, curve = pretrain_checkpoint(p, TEXT, 3, _folder(tmp_path / "w1"), tmp_path / "whole")

    class Killed(Exception):
        pass

    def progress(done, total, *_, **__):
        if done > 3 * 30_000:
            raise Killed

    with pytest.raises(Killed):
        pretrain_checkpoint(p, TEXT, 3, _folder(tmp_path / "w2"), tmp_path / "cut", progress)
    assert (tmp_path / "w2" / "state.pt").is_file()
    _, resumed = pretrain_checkpoint(p, TEXT, 3, tmp_path / "w2", tmp_path / "cut")
    assert resumed == curve
    whole, cut = (tmp_path / n / "model.safetensors" for n in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()


def _folder(path):
    path.mkdir()
    return path


def test_muon_update_is_nearly_orthogonal():
    g = torch.randn(3, 24, 16, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(Muon.orthogonalise(g))
    assert singular.min() > 0.5 and singular.max() < 1.35


def test_muon_takes_hidden_matrices_and_adam_the_rest():
    from tasks.training.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(TEXT.tokenizer_texts(count=200), TEXT.tags)
    run = Pretraining(Pretrain(hidden=16, layers=1, heads=2, tokens=1000), tokenizer, 0)
    muon = sum(w.numel() for ws in run.muon.groups.values() for w in ws)
    assert muon + sum(w.numel() for w in run.rest) == run.model.num_parameters()


def test_tokenizer_reads_back_any_text_and_keeps_numbers_whole(checkpoint):
    tokenizer = checkpoints.load_tokenizer(checkpoint)
    for text in (
        "Compute 54 A-1=53.",
        "<think> 首先 A+1=9. </think> 结果是 9。 <answer>9</answer>",
        "naïve café ∑ 你好 <b>",
    ):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    ids = [tokenizer(t)["input_ids"][-1] for t in ("=53", " 53", "<answer>53")]
    assert len(set(ids)) == 1


def test_a_folder_without_weights_is_refused(tmp_path, checkpoint):
    import shutil

    shutil.copytree(checkpoint, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    from tasks.provenance.artifacts import ArtifactError
    from tasks.training.settings import Model

    with pytest.raises(ArtifactError, match="no weights"):
        checkpoints.load(tmp_path / "m")
    with pytest.raises(ArtifactError, match="no weights"):
        checkpoints.fetch(Model(path=str(tmp_path / "m")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_hub_model_needs_a_pinned_commit():
    from tasks.training.settings import Model

    with pytest.raises(ValueError, match="40 hex digits"):
        Model(hub="Qwen/Qwen2.5-1.5B", revision="main")
