"""Reward models: helpfulness from pairs with TRL's RewardTrainer, safety from labels with a binary cross-entropy."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from tasks.provenance.artifacts import check_files
from tasks.settings import Settings
from tasks.training.trainer import common_arguments, reporter, run

if TYPE_CHECKING:
    from tasks.progress import Progress

SAFE = {"use_safetensors": True, "trust_remote_code": False}  # weights that are no pickle, no code of the checkpoint's


class RewardModelTraining(Settings):
    """Both reward models share these (N, Methods: "same hyperparameters")."""

    epochs: int = Field(1, ge=1, description="paper: 1")
    batch_size: int = Field(32, ge=1, description="pairs or labels per step; paper: 256")
    learning_rate: float = Field(gt=0, description="peak; paper: 6e-6")
    max_length: int = Field(512, ge=16, description="tokens; longer ones are left out and counted; paper: 8,192")


def _arguments(p: RewardModelTraining, seed: int, work: Path) -> dict:
    return common_arguments(
        work, seed, learning_rate=p.learning_rate, final_lr_ratio=0.1, schedule="linear", warmup_steps=5,
        adam_beta2=0.98, bf16=False, gradient_checkpointing=False, save_every=200,
    ) | {"num_train_epochs": p.epochs, "per_device_train_batch_size": p.batch_size}  # fmt: skip


def classifier(start: Path):
    """The base with a scalar head that starts at zero."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from tasks.training.tokenizer import load_tokenizer

    check_files(start)
    tokenizer = load_tokenizer(start)
    model = AutoModelForSequenceClassification.from_pretrained(start, num_labels=1, dtype=torch.float32, **SAFE)
    torch.nn.init.zeros_(model.score.weight)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _ids(tokenizer, texts: list[str]) -> list[list[int]]:
    return [ids + [tokenizer.eos_token_id] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def train_helpful(
    start: Path, out: Path, pairs: list[tuple[str, str]], p: RewardModelTraining, seed: int, work: Path,
    progress: "Progress | None" = None,
) -> list[dict]:  # fmt: skip
    """Pairwise: (chosen, rejected) full texts; saved under `out`. Returns the training log."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    model, tokenizer = classifier(start)
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
    log = run(trainer, work)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return log


def train_safe(
    start: Path, out: Path, labels: list[tuple[str, bool]], p: RewardModelTraining, seed: int, work: Path,
    progress: "Progress | None" = None,
) -> list[dict]:  # fmt: skip
    """Pointwise: (full text, safe?); saved under `out`. Returns the training log."""
    import torch
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    class PointwiseTrainer(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            wanted = inputs.pop("labels").float()
            score = model(**inputs).logits[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(score, wanted)
            return (loss, score) if return_outputs else loss

    model, tokenizer = classifier(start)
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
    log = run(trainer, work)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return log


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
