"""What every TRL trainer here shares: resumable state in the work folder, progress, one log row per step."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.progress import Progress


def common_arguments(work: Path, seed: int, *, learning_rate, final_lr_ratio, schedule, warmup_steps, adam_beta2, bf16,
                     gradient_checkpointing, save_every) -> dict:  # fmt: skip
    """Keyword arguments of every TRL config; what is off by default here is on by default there (bf16 on a CPU)."""
    import torch

    scheduler = {
        "linear": {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": learning_rate * final_lr_ratio, "power": 1.0}},
        "cosine": {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": final_lr_ratio}},
    }[schedule]
    return {
        "output_dir": str(work / "trainer"),
        "seed": seed,
        "data_seed": seed,
        "learning_rate": learning_rate,
        **scheduler,
        "warmup_steps": warmup_steps,
        "optim": "adamw_torch",
        "adam_beta2": adam_beta2,
        "weight_decay": 0.0,
        "bf16": bf16,
        "gradient_checkpointing": gradient_checkpointing,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": save_every,
        "save_total_limit": 1,
    }


def resume_point(work: Path) -> str | None:
    """The last complete trainer state under `work`, or None."""
    from transformers.trainer_utils import get_last_checkpoint

    folder = work / "trainer"
    found = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return found if found and (Path(found) / "trainer_state.json").is_file() else None


def reporter(
    progress: "Progress | None",
    note: Callable[[dict], str],
    point: Callable[[dict], dict] | None = None,
    rollouts: Callable[[], list[dict]] | None = None,
):
    """A trainer callback that tells `progress` where training stands; it keeps the logs off standard output.

    note(log), point(log) and rollouts() make what is shown of TRL's log of a step: see tasks/progress.py.
    """
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            if progress and logs and "loss" in logs:
                log = logs | {"step": state.global_step}
                shown = {"point": point(log) if point else None, "rollouts": rollouts() if rollouts else None}
                progress(state.global_step, state.max_steps, "steps", note(log), tokens=log.get("num_tokens"), **shown)

    return Reporter()


def run(trainer, work: Path) -> list[dict]:
    """Train to the end, resuming where a killed run stopped; returns one log row per step."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.create_model_card = lambda *args, **kwargs: None  # the manifest and the report say more
    trainer.train(resume_from_checkpoint=resume_point(work))
    return [row for row in trainer.state.log_history if "loss" in row]
