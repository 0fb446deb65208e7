"""Supervised fine-tuning around TRL's SFTTrainer: loss on the response, never on the prompt."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.provenance.artifacts import write_rows
from tasks.training import launch, trainable
from tasks.training.settings import SFT
from tasks.training.trainer import common_arguments, reporter, run, share

if TYPE_CHECKING:
    from tasks.progress import Progress

PAIRS = pa.schema([("prompt", pa.string()), ("response", pa.string())])  # as they go to launched processes


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
    model,
    tokenizer,
    pairs: list[tuple[str, str]],
    p: SFT,
    seed: int,
    work: Path,
    progress: "Progress | None" = None,
    out: Path | None = None,
) -> tuple[dict, list[dict]]:
    """Train `model` in place on (rendered prompt, response) texts; returns metrics and the learning curve.

    Examples longer than `p.max_length` tokens are left out and counted, never cut: a cut response teaches
    the model to stop in the middle.

    out: folder for the trained checkpoint.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows, too_long = encode(tokenizer, pairs, p.max_length)
    if not rows:
        raise ValueError(f"no example of {len(pairs)} fits max_length={p.max_length} tokens: nothing to train on")
    micro, passes = share(p.batch_size, p.micro_batch)
    settings = p.model_dump()
    shared = {k: settings[k] for k in ("learning_rate", "final_lr_ratio", "schedule", "warmup_steps", "adam_beta2")}
    config = SFTConfig(
        **common_arguments(
            work, seed, **shared, bf16=p.bf16, gradient_checkpointing=p.gradient_checkpointing, save_every=p.save_every
        ),
        num_train_epochs=p.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=passes,
        completion_only_loss=True,
        **_packing(p),
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[reporter(progress, lambda log: f"loss {log['loss']:.3f}", _point)],
    )
    log = run(trainer, work, out)
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


def _packing(p: SFT) -> dict:
    """TRL's arguments: it enforces max_length by cutting, which `encode` has made unnecessary."""
    return {
        "none": {"max_length": p.max_length},
        "padding_free": {"padding_free": True, "max_length": None},
        "bfd": {"packing": True, "packing_strategy": "bfd", "max_length": p.max_length},
    }[p.packing]


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
    accelerate: Path | None = None,
) -> tuple[dict, list[dict]]:
    """`fine_tune` from one checkpoint folder to another, in this process or in those that `accelerate` describes."""
    if accelerate:
        write_rows(work, "pairs", ({"prompt": prompt, "response": response} for prompt, response in pairs), PAIRS)
        arguments = {"start": start, "out": out, "pairs": work / "pairs.parquet", "settings": p.model_dump(mode="json")}
        arguments |= {"seed": seed, "work": work, "threads": threads}
        metrics, curve = launch.call("tasks.training.sft:job", arguments, work, accelerate, progress)
        return metrics, curve
    import torch

    torch.set_num_threads(threads)
    model, tokenizer = trainable.load(start, p, p.max_length, seed)
    return fine_tune(model, tokenizer, pairs, p, seed, work, progress, out)


def job(start: str, out: str, pairs: str, settings: dict, seed: int, work: str, threads: int, progress=None) -> tuple:
    """`fine_tune_checkpoint` in each of the launched processes."""
    texts = [(row["prompt"], row["response"]) for row in pq.read_table(pairs).to_pylist()]
    p = SFT.model_validate(settings)
    return fine_tune_checkpoint(Path(start), Path(out), texts, p, seed, Path(work), progress, threads)
