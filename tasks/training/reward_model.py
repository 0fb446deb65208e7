"""Reward models: helpfulness from pairs with TRL's RewardTrainer, safety from labels with a binary cross-entropy."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from tasks.provenance.artifacts import check_files, write_rows
from tasks.training import launch, trainable
from tasks.training.settings import OnDevice
from tasks.training.trainable import SAFE
from tasks.training.trainer import common_arguments, reporter, run, share

if TYPE_CHECKING:
    from tasks.progress import Progress

HELPFUL = pa.schema([("chosen", pa.string()), ("rejected", pa.string())])  # as they go to launched processes
SAFETY = pa.schema([("text", pa.string()), ("safe", pa.bool_())])


class RewardModelTraining(OnDevice):
    """Both reward models share these (N, Methods: "same hyperparameters")."""

    epochs: int = Field(1, ge=1, description="paper: 1")
    batch_size: int = Field(32, ge=1, description="pairs or labels per step, over all processes; paper: 256")
    micro_batch: int | None = Field(
        None, ge=1, description="of them per forward pass of one process; null: its whole share"
    )
    learning_rate: float = Field(gt=0, description="peak; paper: 6e-6")
    warmup_steps: int = Field(5, ge=0, description="of the learning rate; the paper does not say")
    max_length: int = Field(512, ge=16, description="tokens; longer ones are left out and counted; paper: 8,192")


def _arguments(p: RewardModelTraining, seed: int, work: Path) -> dict:
    micro, passes = share(p.batch_size, p.micro_batch)
    return common_arguments(
        work, seed, learning_rate=p.learning_rate, final_lr_ratio=0.1, schedule="linear", warmup_steps=p.warmup_steps,
        adam_beta2=0.98, bf16=p.bf16, gradient_checkpointing=p.gradient_checkpointing, save_every=200,
    ) | {
        "num_train_epochs": p.epochs, "per_device_train_batch_size": micro, "gradient_accumulation_steps": passes,
    }  # fmt: skip


def classifier(start: Path, p: RewardModelTraining, seed: int):
    """The base with a scalar head that starts at zero."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from tasks.training.tokenizer import load_tokenizer

    check_files(start)
    tokenizer = load_tokenizer(start)
    more = trainable.options(start, p, p.max_length)
    model = AutoModelForSequenceClassification.from_pretrained(start, num_labels=1, dtype=torch.float32, **SAFE, **more)
    torch.nn.init.zeros_(model.score.weight)
    model.config.pad_token_id = tokenizer.pad_token_id
    model = trainable.adapt(model, p, seed, "SEQ_CLS")
    print(f"training from {start}: {trainable.describe(model, p)}", flush=True)
    return model, tokenizer


def _ids(tokenizer, texts: list[str]) -> list[list[int]]:
    return [ids + [tokenizer.eos_token_id] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def train_helpful(
    start: Path, out: Path, pairs: list[tuple[str, str]], p: RewardModelTraining, seed: int, work: Path,
    progress: "Progress | None" = None, accelerate: Path | None = None,
) -> list[dict]:  # fmt: skip
    """Pairwise: (chosen, rejected) full texts; saved under `out`. Returns the training log."""
    if accelerate:
        write_rows(work, "rows", ({"chosen": c, "rejected": r} for c, r in pairs), HELPFUL)
        return _launch("helpful", start, out, p, seed, work, progress, accelerate)
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    model, tokenizer = classifier(start, p, seed)
    chosen, rejected = (_ids(tokenizer, [pair[i] for pair in pairs]) for i in (0, 1))
    rows = [
        {"chosen_ids": c, "rejected_ids": r}
        for c, r in zip(chosen, rejected, strict=True)
        if max(len(c), len(r)) <= p.max_length
    ]
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(**_arguments(p, seed, work), max_length=p.max_length),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[reporter(progress, lambda logs: f"helpful, loss {logs['loss']:.3f}")],
    )
    return run(trainer, work, out)


def train_safe(
    start: Path, out: Path, labels: list[tuple[str, bool]], p: RewardModelTraining, seed: int, work: Path,
    progress: "Progress | None" = None, accelerate: Path | None = None,
) -> list[dict]:  # fmt: skip
    """Pointwise: (full text, safe?); saved under `out`. Returns the training log."""
    if accelerate:
        write_rows(work, "rows", ({"text": text, "safe": safe} for text, safe in labels), SAFETY)
        return _launch("safe", start, out, p, seed, work, progress, accelerate)
    import torch
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    class PointwiseTrainer(Trainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.model_accepts_loss_kwargs = False  # the loss below is a mean: divided by the passes of a step

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            wanted = inputs.pop("labels").float()
            score = model(**inputs).logits[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(score, wanted)
            return (loss, score) if return_outputs else loss

    model, tokenizer = classifier(start, p, seed)
    encoded = _ids(tokenizer, [text for text, _ in labels])
    rows = [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": int(safe)}
        for ids, (_, safe) in zip(encoded, labels, strict=True)
        if len(ids) <= p.max_length
    ]
    trainer = PointwiseTrainer(
        model=model,
        args=TrainingArguments(**_arguments(p, seed, work)),
        train_dataset=Dataset.from_list(rows),
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[reporter(progress, lambda logs: f"safe, loss {logs['loss']:.3f}")],
    )
    return run(trainer, work, out, tokenizer)


def _launch(
    kind: str, start: Path, out: Path, p: RewardModelTraining, seed: int, work: Path, progress, accelerate: Path
):
    arguments = {"kind": kind, "start": start, "out": out, "rows": work / "rows.parquet", "seed": seed, "work": work}
    settings = {key: getattr(p, key) for key in RewardModelTraining.model_fields}
    arguments["settings"] = RewardModelTraining(**settings).model_dump(mode="json")
    return launch.call("tasks.training.reward_model:job", arguments, work, accelerate, progress)


def job(kind: str, start: str, out: str, rows: str, settings: dict, seed: int, work: str, progress=None) -> list[dict]:
    """`train_helpful` or `train_safe` in each of the launched processes."""
    train = {"helpful": train_helpful, "safe": train_safe}[kind]
    texts = [tuple(row.values()) for row in pq.read_table(rows).to_pylist()]
    p = RewardModelTraining.model_validate(settings)
    return train(Path(start), Path(out), texts, p, seed, Path(work), progress)


class Scorer:
    """A reward model that scores (rendered prompt, response) texts; higher is better."""

    def __init__(self, folder: Path):
        import torch
        from transformers import AutoModelForSequenceClassification

        from tasks.training.tokenizer import load_tokenizer

        check_files(folder)
        self.tokenizer = load_tokenizer(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, **SAFE).eval()

    def __call__(self, texts: list[str], batch: int = 64) -> list[float]:
        import torch

        scores: list[float] = []
        with torch.no_grad():
            for start in range(0, len(texts), batch):
                ids = _ids(self.tokenizer, texts[start : start + batch])
                data = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
                scores += self.model(**data).logits[:, 0].tolist()
        return scores
