"""Supervised fine-tuning around TRL's SFTTrainer: loss on the response, never on the prompt."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.training.settings import SFT
from tasks.training.trainer import common_arguments, reporter, run

if TYPE_CHECKING:
    from tasks.progress import Progress


def encode(tokenizer, pairs: list[tuple[str, str]], max_length: int) -> tuple[list[dict], list[int]]:
    """(rendered prompt, response) texts -> rows of ids and completion mask, and the indices of those too long."""
    rows, too_long = [], []
    prompts = tokenizer([p for p, _ in pairs], add_special_tokens=False)["input_ids"]
    responses = tokenizer([r for _, r in pairs], add_special_tokens=False)["input_ids"]
    for i, (p, r) in enumerate(zip(prompts, responses, strict=True)):
        r = [*r, tokenizer.eos_token_id]
        if len(p) + len(r) > max_length:
            too_long.append(i)
        else:
            rows.append({"input_ids": p + r, "completion_mask": [0] * len(p) + [1] * len(r)})
    return rows, too_long


def fine_tune(
    model, tokenizer, pairs: list[tuple[str, str]], p: SFT, seed: int, work: Path, progress: "Progress | None" = None
) -> tuple[dict, list[dict]]:
    """Train `model` in place on (rendered prompt, response) texts; returns metrics and the learning curve.

    Examples longer than `p.max_length` tokens are left out and counted, never cut: a cut response teaches
    the model to stop in the middle.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows, too_long = encode(tokenizer, pairs, p.max_length)
    if not rows:
        raise ValueError(f"no example of {len(pairs)} fits max_length={p.max_length} tokens: nothing to train on")
    micro = min(p.micro_batch or p.batch_size, p.batch_size)
    if p.batch_size % micro:
        raise ValueError(f"batch_size {p.batch_size} is no multiple of micro_batch {micro}")
    settings = p.model_dump()
    shared = {k: settings[k] for k in ("learning_rate", "final_lr_ratio", "schedule", "warmup_steps", "adam_beta2")}
    config = SFTConfig(
        **common_arguments(
            work, seed, **shared, bf16=p.bf16, gradient_checkpointing=p.gradient_checkpointing, save_every=p.save_every
        ),
        num_train_epochs=p.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=p.batch_size // micro,
        completion_only_loss=True,
        max_length=p.max_length,
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[reporter(progress, lambda log: f"loss {log['loss']:.3f}", _point)],
    )
    log = run(trainer, work)
    curve = [_point(row) for row in log]
    ends = max(1, min(5, len(curve)))
    return {
        "examples": len(rows),
        "left_out": len(too_long),
        "steps": len(curve),
        "tokens": p.epochs * sum(len(r["input_ids"]) for r in rows),
        "loss_first": sum(r["loss"] for r in curve[:ends]) / ends,
        "loss_last": sum(r["loss"] for r in curve[-ends:]) / ends,
    }, curve


def _point(log: dict) -> dict:
    """A row of the learning curve from a row of TRL's log."""
    return {key: log[key] for key in ("step", "loss", "learning_rate")}


def fine_tune_checkpoint(
    start: Path,
    out: Path,
    pairs: list[tuple[str, str]],
    p: SFT,
    seed: int,
    work: Path,
    progress: "Progress | None" = None,
    threads: int = 1,
) -> tuple[dict, list[dict]]:
    """`fine_tune` from one checkpoint folder to another."""
    import torch

    from tasks.training import checkpoints

    torch.set_num_threads(threads)
    model, tokenizer = checkpoints.load(start)
    metrics, curve = fine_tune(model, tokenizer, pairs, p, seed, work, progress)
    checkpoints.save(model, tokenizer, out)
    return metrics, curve
