"""Packing = padding: a token's log-probability depends on its own example alone, whatever shares its row."""

import pytest
import torch
from safetensors.torch import load_file

from tasks.training import checkpoints
from tasks.training.settings import SFT
from tasks.training.sft import encode, fine_tune_checkpoint

PAIRS = [
    (
        f"User: Compute {i} A+1\nAssistant: ",
        "<think> " + f"First A+1={i + 1}. " * (1 + i % 4) + f"</think><answer>{i + 1}</answer>",
    )
    for i in range(16)
]


def test_padding_free_training_is_padded_training(checkpoint, tmp_path):
    found = {}
    for packing in ("none", "padding_free"):
        p = SFT(epochs=2, batch_size=8, micro_batch=4, learning_rate=1e-3, warmup_steps=2, packing=packing)
        out = tmp_path / packing
        metrics, curve = fine_tune_checkpoint(checkpoint, out, PAIRS, p, 1, tmp_path / f"work_{packing}")
        assert metrics["steps"] == 4
        found[packing] = [row["loss"] for row in curve], load_file(out / "model.safetensors")
    losses, weights = found["none"]
    assert found["padding_free"][0] == pytest.approx(losses, rel=1e-5)
    assert max(float((found["padding_free"][1][k] - weights[k]).abs().max()) for k in weights) < 1e-5


def _rows(rows: list[dict], longest: int) -> list[dict]:
    """TRL's own packing of our rows, as its trainer does it for `packing: bfd`."""
    from datasets import Dataset
    from trl import pack_dataset

    labels = [
        {
            "input_ids": r["input_ids"],
            "labels": [t if m else -100 for t, m in zip(r["input_ids"], r["completion_mask"], strict=True)],
        }
        for r in rows
    ]
    return pack_dataset(Dataset.from_list(labels), longest, "bfd").to_list()


def test_a_packed_row_gives_each_token_the_probability_it_has_alone(checkpoint):
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    model, tokenizer = checkpoints.load(checkpoint)
    rows, _ = encode(tokenizer, PAIRS, 512)
    longest = max(len(r["input_ids"]) for r in rows) * 2
    packed = _rows(rows, longest)
    assert len(packed) <= len(rows) // 2 and max(len(r["input_ids"]) for r in packed) <= longest
    batch = DataCollatorForLanguageModeling(tokenizer.pad_token_id, padding_free=True)(packed)
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    assert len(starts) == len(rows), "positions begin anew with each example"
    with torch.no_grad():
        # as TRL calls it: with a cache, transformers looks for no boundaries in the positions
        together = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0]
        for begin, end in zip(starts, [*starts[1:], batch["input_ids"].shape[1]], strict=True):
            alone = model(input_ids=batch["input_ids"][:, begin:end]).logits[0]
            torch.testing.assert_close(together[begin:end], alone, rtol=1e-4, atol=1e-5)


def test_bfd_counts_rows_and_loses_no_token_of_a_response(checkpoint, tmp_path):
    p = SFT(epochs=1, batch_size=2, learning_rate=1e-3, packing="bfd", max_length=128)
    metrics, curve = fine_tune_checkpoint(checkpoint, tmp_path / "out", PAIRS, p, 1, tmp_path / "work")
    rows, _ = encode(checkpoints.load_tokenizer(checkpoint), PAIRS, 128)
    packed = _rows(rows, 128)
    assert metrics["examples"] == len(PAIRS) and metrics["steps"] == len(curve) == -(-len(packed) // 2)
    kept = sum(label != -100 for row in packed for label in row["labels"])
    assert kept == sum(sum(row["completion_mask"]) for row in rows)
