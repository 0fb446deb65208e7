"""SFT through TRL: loss on the response alone, nothing cut, resume = uninterrupted."""

import pytest

from tasks.training import checkpoints
from tasks.training.settings import SFT
from tasks.training.sft import encode, fine_tune_checkpoint

PAIRS = [(f"User: Compute {i} A+1\nAssistant: ", f"<think> First A+1={i + 1}. </think><answer>{i + 1}</answer>") for i in range(20)]


def test_prompts_carry_no_loss_and_long_examples_are_counted(checkpoint):
    tokenizer = checkpoints.load_tokenizer(checkpoint)
    rows, too_long = encode(tokenizer, [*PAIRS, ("User: x\nAssistant: ", "word " * 300)], 64)
    assert len(rows) == 20 and too_long == [20]
    for row, (prompt, response) in zip(rows, PAIRS, strict=True):
        scored = [i for i, m in zip(row["input_ids"], row["completion_mask"], strict=True) if m]
        assert tokenizer.decode(scored, skip_special_tokens=True) == response
        assert row["input_ids"][-1] == tokenizer.eos_token_id


def test_loss_falls_and_a_resumed_run_ends_in_the_same_bits(checkpoint, tmp_path):
    p = SFT(epochs=10, batch_size=4, learning_rate=3e-3, save_every=10, warmup_steps=2)
    metrics, curve = fine_tune_checkpoint(checkpoint, tmp_path / "whole", PAIRS, p, 1, tmp_path / "w1")
    assert metrics["steps"] == 50 and metrics["loss_last"] < metrics["loss_first"] / 2

    class Killed(Exception):
        pass

    told = []

    def progress(step, total, unit, note, tokens, point, rollouts):
        told.append((step, total, unit, point))
        assert tokens > 0 and note == f"loss {point['loss']:.3f}"
        if step == 15:
            raise Killed

    with pytest.raises(Killed):
        fine_tune_checkpoint(checkpoint, tmp_path / "cut", PAIRS, p, 1, tmp_path / "w2", progress)
    _, resumed = fine_tune_checkpoint(checkpoint, tmp_path / "cut", PAIRS, p, 1, tmp_path / "w2")
    assert resumed == curve
    assert told == [(i + 1, 50, "steps", row) for i, row in enumerate(curve[:15])], "the curve as it grows"
    whole, cut = (tmp_path / n / "model.safetensors" for n in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()


def test_nothing_to_train_on_is_an_error(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="no example of 20 fits"):
        fine_tune_checkpoint(checkpoint, tmp_path / "o", PAIRS, SFT(learning_rate=1e-3, max_length=16), 1, tmp_path / "w")


def test_a_warm_up_as_long_as_the_training_is_refused_before_it_begins(checkpoint, tmp_path):
    p = SFT(epochs=1, batch_size=4, learning_rate=1e-3, warmup_steps=5)
    with pytest.raises(ValueError, match="warmup_steps: 5 is the whole training of 5 steps"):
        fine_tune_checkpoint(checkpoint, tmp_path / "o", PAIRS, p, 1, tmp_path / "w")
    for bearable in ({"warmup_steps": 6}, {"schedule": "cosine"}):  # these divide by nothing
        other = p.model_copy(update=bearable)
        work = tmp_path / f"w{other.schedule}"
        metrics, curve = fine_tune_checkpoint(checkpoint, tmp_path / f"o{other.schedule}", PAIRS, other, 1, work)
        assert metrics["steps"] == 5 and curve[-1]["learning_rate"] < p.learning_rate
