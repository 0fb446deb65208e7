"""SIGTERM and Ctrl-C while a model is trained, and kills while a checkpoint is written: real signals, the same weights."""

import json
import os
import shutil
import signal

import pytest

from tasks.prompts.corpus import pretraining_set
from tasks.prompts.templates import render
from tasks.provenance.artifacts import sha256
from tasks.training.pretrain import pretrain_checkpoint
from tasks.training.settings import SFT, Pretrain
from tasks.training.sft import fine_tune_checkpoint
from tasks.training.stopping import Stopped
from tasks.training.trainer import resume_point

SMALL = Pretrain(hidden=16, layers=1, heads=2, tokens=40_000)
TUNED = SFT(epochs=1, batch_size=4, learning_rate=1e-3, save_every=50)


def _send(number: int, step: int):
    """A progress callback that sends this process a signal when training has come to `step`."""
    sent = []

    def progress(done, total, *args, **kwargs):
        if done >= step and not sent:
            sent.append(done)
            os.kill(os.getpid(), number)

    return progress


def _pretrain(folder, progress=None):
    pretrain_checkpoint(SMALL, pretraining_set("bare"), 0, folder, folder / "out", progress)
    return sha256(folder / "out/model.safetensors")


def test_pretraining_stops_with_its_state_and_goes_on_to_the_same_weights(tmp_path, capsys):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match=r"stopped by SIGTERM after [\d,]+ of 40,000 tokens; the next run goes on"):
        _pretrain(tmp_path / "stopped", _send(signal.SIGTERM, 5_000))
    assert signal.getsignal(signal.SIGTERM) is before and not (tmp_path / "stopped/out").exists()
    state = (tmp_path / "stopped/state.pt").read_bytes()
    (tmp_path / "stopped/state.tmp").write_bytes(state[: len(state) // 2])  # as a kill during the next save leaves it
    seen = []
    found = _pretrain(tmp_path / "stopped", lambda done, *args, **kwargs: seen.append(done))
    assert seen[0] > 5_000 and "state.tmp: its save was interrupted" in capsys.readouterr().out
    assert found == _pretrain(tmp_path / "whole")


@pytest.fixture
def pairs(prompts):
    return [(render("bare", r["text"]), r["solution"]) for r in prompts]


def _tune(checkpoint, pairs, folder, progress=None):
    fine_tune_checkpoint(checkpoint, folder / "out", pairs, TUNED, 0, folder, progress)
    return sha256(folder / "out/model.safetensors")


def test_fine_tuning_stops_with_a_checkpoint_and_an_incomplete_one_is_skipped(checkpoint, pairs, tmp_path, capsys):
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    with pytest.raises(Stopped, match="stopped by SIGINT after step 4 of 6"):
        _tune(checkpoint, pairs, stopped, _send(signal.SIGINT, 3))
    last = stopped / "trainer/checkpoint-4"
    assert json.loads((last / "trainer_state.json").read_text())["global_step"] == 4
    for step, torn in ((5, True), (10, False)):  # killed while writing the last file of it, and before that
        newer = stopped / f"trainer/checkpoint-{step}"
        shutil.copytree(last, newer)
        (newer / "trainer_state.json").unlink()
        if torn:
            (newer / "trainer_state.json").write_text('{"global_step"')
    assert resume_point(stopped) == str(last)
    said = capsys.readouterr().out
    assert said.index("checkpoint-10: its save was interrupted") < said.index("checkpoint-5: its save was interrupted")
    assert _tune(checkpoint, pairs, stopped) == _tune(checkpoint, pairs, whole)
