"""What every TRL trainer here shares: resumable state in the work folder, progress, one log row per step."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.training import stopping, trainable

if TYPE_CHECKING:
    from tasks.progress import Progress


def processes() -> int:
    """How many train together, as `accelerate launch` tells each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share(batch: int, micro: int | None) -> tuple[int, int]:
    """(rows of a forward pass, passes of an optimizer step) of one process, where all of them together take `batch`."""
    rows = batch // processes()
    if rows * processes() != batch:
        raise ValueError(f"batch_size {batch} is no multiple of the {processes()} processes that share it")
    micro = min(micro or rows, rows)
    if rows % micro:
        each = f" = {rows} of each process" if processes() > 1 else ""
        raise ValueError(f"batch_size {batch}{each} is no multiple of micro_batch {micro}")
    return micro, rows // micro


def common_arguments(work: Path, seed: int, *, learning_rate, final_lr_ratio, schedule, warmup_steps, adam_beta2, bf16,
                     gradient_checkpointing, save_every) -> dict:  # fmt: skip
    """Keyword arguments of every TRL config; what is off by default here is on by default there (bf16 on a CPU)."""
    import torch

    scheduler = {
        "linear": {
            "lr_scheduler_type": "polynomial",
            "lr_scheduler_kwargs": {"lr_end": learning_rate * final_lr_ratio, "power": 1.0},
        },
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
        **(_TOGETHER if processes() > 1 else {}),
    }


# Buffers are constants here, and a rank may run more forward passes than another: nothing may be exchanged in them.
_TOGETHER = {"ddp_broadcast_buffers": False, "ddp_find_unused_parameters": False}


def resume_point(work: Path) -> str | None:
    """The last complete trainer state under `work`, or None; says which newer ones a kill has left incomplete.

    The trainer writes trainer_state.json last, so a checkpoint is complete where that is whole.
    """
    found = sorted((work / "trainer").glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]), reverse=True)
    for checkpoint in found:
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
        except (OSError, ValueError):
            print(f"skipped {checkpoint}: its save was interrupted", flush=True)
        else:
            return str(checkpoint)
    return None


def number_cpus() -> None:
    """Let several processes of a CPU resume: accelerate calls their device `cpu:0`, where torch restores only to `cpu`."""
    from torch.serialization import register_package

    if processes() > 1:
        register_package(9, lambda storage: None, lambda storage, place: storage if place.startswith("cpu:") else None)


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


def _warm_up_ends():
    """A trainer callback that refuses, before the first step, a warm-up as long as the training.

    transformers' polynomial schedule (`linear` here) divides by the steps in between: it would fail after the last step.
    """
    from transformers import TrainerCallback

    class WarmUpEnds(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            if args.lr_scheduler_type == "polynomial" and 0 < args.warmup_steps == state.max_steps:
                raise ValueError(
                    f"warmup_steps: {args.warmup_steps:g} is the whole training of {state.max_steps} steps: "
                    "set fewer, train for more steps, or choose `schedule: cosine` where the stage has it"
                )

    return WarmUpEnds()


def _stopper(trainer, came: list[str]):
    """A trainer callback that ends training with a checkpoint once a signal came, where rollouts are used up.

    A process that launched this one hands on its signal by a file. All ranks stop at one step: the
    signal reaches them at different times, so they ask each other.
    """
    import torch
    from transformers import TrainerCallback

    asked = Path(os.environ[stopping.FILE]) if stopping.FILE in os.environ else None

    def any_of_us() -> bool:
        if not came and asked and asked.exists():
            came.append(json.loads(asked.read_text()))
        if trainer.accelerator.num_processes == 1:
            return bool(came)
        mine = torch.tensor(float(bool(came)), device=trainer.accelerator.device)
        heard = bool(trainer.accelerator.reduce(mine, "sum") > 0)
        if heard and not came:  # the file has come since, or the signal reached another machine
            came.append(json.loads(asked.read_text()) if asked and asked.exists() else "another process")
        return heard

    class Stopper(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            # `accumulate`: one optimizer step may take several of TRL's generation steps
            passes = max(1, args.gradient_accumulation_steps)
            cycle = max(1, getattr(args, "steps_per_generation", 1) // passes) * getattr(args, "num_iterations", 1)
            if state.global_step % cycle == 0 and state.global_step < state.max_steps and any_of_us():
                control.should_save = control.should_training_stop = True

    return Stopper()


def run(trainer, work: Path, out: Path | None = None, tokenizer=None) -> list[dict]:
    """Train to the end, resuming where a killed run stopped; returns one log row per step.

    out: folder for the trained checkpoint; every rank calls this, and rank 0 writes.
    tokenizer: for that folder; None: the trainer's.
    Raises:
        Stopped: SIGTERM or Ctrl-C came before the last step; a checkpoint is there.
    """
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_warm_up_ends())
    number_cpus()
    trainer.create_model_card = lambda *args, **kwargs: None  # the manifest and the report say more
    with stopping.requests() as came:
        trainer.add_callback(_stopper(trainer, came))
        try:
            trainer.train(resume_from_checkpoint=resume_point(work))
        except RuntimeError as exc:
            if "inline_container" in str(exc) and shutil.disk_usage(work).free < 1 << 20:  # torch's words for it
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work / "trainer")) from exc
            raise
        trainer.accelerator.wait_for_everyone()  # who ends early has the launcher end the others, in the middle of a save
    done, steps = trainer.state.global_step, trainer.state.max_steps
    if came and done < steps:
        raise stopping.Stopped(f"stopped by {came[0]} after step {done} of {steps}; the next run goes on from there")
    if out is not None:
        trainable.publish(trainer, tokenizer or trainer.processing_class, out, work / "adapter")
    return [row for row in trainer.state.log_history if "loss" in row]
