"""Two CPU processes over gloo train to the losses of one with the same global batch; saved by two, resumed by one.

Tolerance: gradients are summed in another order, which float32 rounds differently, and AdamW divides by their size.
Losses agree to 1e-5 of themselves, weights to 1e-5 (docs/scale.md: 2e-7 and 6e-7 were measured).
"""

import os
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tasks.rewards.launched import composed, train
from tasks.rewards.registry import Rewards
from tasks.training import grpo
from tasks.training.grpo_settings import GRPO
from tasks.training.settings import SFT
from tasks.training.sft import fine_tune_checkpoint
from tasks.training.stopping import Stopped

TWO = Path(__file__).resolve().parents[2] / "recipes" / "accelerate" / "two_cpu.yaml"
PAIRS = [
    (f"User: Compute {i} A+1\nAssistant: ", f"<think> First A+1={i + 1}. </think><answer>{i + 1}</answer>")
    for i in range(40)
]


def _near(one: Path, two: Path, bound: float) -> None:
    a, b = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert a.keys() == b.keys()
    assert max(float((a[k] - b[k]).abs().max()) for k in a) < bound


def test_sft_by_two_is_sft_by_one_and_what_two_saved_one_resumes(checkpoint, tmp_path):
    p = SFT(epochs=20, batch_size=8, learning_rate=5e-4, save_every=500)
    _, whole = fine_tune_checkpoint(checkpoint, tmp_path / "one", PAIRS, p, 1, tmp_path / "w1")
    assert len(whole) == 100 and whole[-1]["loss"] < whole[0]["loss"] - 1
    told = {}

    def progress(done, total, *_, point=None, **__):
        told[done] = point["loss"]
        if len(told) == 10:  # from here on the job is asked to stop
            os.kill(os.getpid(), signal.SIGTERM)

    two = (checkpoint, tmp_path / "two", PAIRS, p, 1, tmp_path / "w2")
    with pytest.raises(Stopped, match=r"^stopped by SIGTERM after step \d+ of 100; the next run goes on from there$"):
        fine_tune_checkpoint(*two, progress, accelerate=TWO)
    assert list(told) == list(range(1, len(told) + 1)) and not (tmp_path / "two").exists()
    saved = {f.name for f in (tmp_path / f"w2/trainer/checkpoint-{len(told)}").iterdir()}
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= saved, "it was saved by two processes"
    assert list(told.values()) == pytest.approx([row["loss"] for row in whole[: len(told)]], rel=1e-5)
    _, resumed = fine_tune_checkpoint(*two)
    assert [r["loss"] for r in resumed] == pytest.approx([r["loss"] for r in whole], rel=1e-5)
    _near(tmp_path / "one", tmp_path / "two", 1e-5)


def test_grpo_by_two_is_grpo_by_one_and_what_two_saved_one_resumes(checkpoint, prompts, tmp_path):
    p = GRPO(
        steps=8,
        prompts_per_step=4,
        group_size=4,
        rollout_prompts=2,
        learning_rate=1e-3,
        max_tokens=[(0, 24)],
        save_every=50,
    )
    rules = Rewards.model_validate({"repetition": {"weight": 1.0, "n": 1}, "format": 0.5})
    rows = grpo.lay_out(p, prompts, [], seed=1)
    told = []

    def run(name, **more):
        out, work = tmp_path / name, tmp_path / f"work_{name}"
        return train(checkpoint, out, rows, p, composed(rules), rules, "bare", 7, work, **more)

    def progress(done, *_, point=None, **__):
        told.append(point)
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    _, one = run("one")
    assert all(row["grad_norm"] > 0 for row in one)
    with pytest.raises(Stopped, match=r"^stopped by SIGTERM after step [3-7] of 8"):
        run("two", accelerate=TWO, progress=progress)
    _, resumed = run("two")
    for column in ("reward", "length", "entropy", "grad_norm"):
        whole = [row[column] for row in one]
        assert [row[column] for row in told] == pytest.approx(whole[: len(told)], rel=1e-4), column
        assert [row[column] for row in resumed] == pytest.approx(whole, rel=1e-4), column
    assert [row["tokens"] for row in resumed] == [row["tokens"] for row in one], "the same samples"
    _near(tmp_path / "one", tmp_path / "two", 1e-5)


def test_a_batch_that_cannot_be_shared_is_an_error(monkeypatch):
    from tasks.training.trainer import share

    assert share(8, None) == (8, 1) and share(8, 2) == (2, 4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert share(8, None) == (4, 1) and share(8, 8) == (4, 1) and share(8, 1) == (1, 4)
    with pytest.raises(ValueError, match="batch_size 9 is no multiple of the 2 processes"):
        share(9, None)
    with pytest.raises(ValueError, match="batch_size 8 = 4 of each process is no multiple of micro_batch 3"):
        share(8, 3)


def test_a_state_is_restored_to_the_device_that_accelerate_gives_one_of_several_on_a_cpu(tmp_path, monkeypatch):
    import torch

    from tasks.training.trainer import number_cpus

    torch.save({"exp_avg": torch.arange(3.0)}, tmp_path / "optimizer.pt")
    monkeypatch.setenv("WORLD_SIZE", "2")
    number_cpus()
    found = torch.load(tmp_path / "optimizer.pt", map_location=torch.device("cpu", 1), weights_only=True)
    assert found["exp_avg"].tolist() == [0.0, 1.0, 2.0]
