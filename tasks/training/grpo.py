"""GRPO around TRL's GRPOTrainer (paper 2.2.1): our rollouts, our order of prompts, its objective.

The order of prompts is laid out beforehand, step by step, and every rollout is seeded by its step: a resumed run
sees the same prompts and draws the same samples as an uninterrupted one.
"""

import contextlib
import functools
import importlib.util
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.rows import derive_seed
from tasks.sampling.sample import EngineError
from tasks.training import grpo_log
from tasks.training.grpo_settings import GRPO
from tasks.training.packed_grpo import make_trainer_class, stopwatch
from tasks.training.rollouts import Rollout, processes, vllm_arguments
from tasks.training.trainer import common_arguments, reporter, run

if TYPE_CHECKING:
    from tasks.progress import Progress

COLUMNS = ("id", "domain", "gold", "language", "meta")  # of PROMPT rows; reward functions receive them by name


def lay_out(p: GRPO, reasoning: list[dict], general: list[dict], seed: int) -> list[dict]:
    """The prompts of every step, in order: PROMPT rows, `p.prompts_per_step` a step, reshuffled after each pass.

    General prompts take `p.general_share` of each of the last `p.general_last_steps` steps, and no others.
    """
    if not reasoning:
        raise ValueError("no reasoning prompts: the `sources` of this stage name none that `prompts` has")
    if p.general_last_steps and p.general_share and not general:
        raise ValueError("general_last_steps asks for general prompts, but `general_sources` names none")

    def endless(rows: list[dict], name: str):
        rng = random.Random(derive_seed(seed, name))
        while True:
            yield from rng.sample(rows, len(rows))

    streams = endless(reasoning, "reasoning"), endless(general, "general")
    out = []
    for step in range(p.steps):
        late = step >= p.steps - p.general_last_steps
        count = round(p.general_share * p.prompts_per_step) if late else 0
        out += [next(streams[0]) for _ in range(p.prompts_per_step - count)]
        out += [next(streams[1]) for _ in range(count)]
    return out


def token_limit(p: GRPO, step: int) -> int:
    """Completion tokens allowed at `step` (paper: raised once, after step 8,200)."""
    return [limit for start, limit in p.max_tokens if step >= start][-1]


def batch_shape(p: GRPO, workers: int) -> dict[str, int]:
    """How TRL divides a step: rows in one of its batches, batches per optimizer step, batches per rollout.

    Raises ValueError where the step cannot be divided so.
    """
    if p.prompts_per_step % workers:
        raise ValueError(
            f"prompts_per_step {p.prompts_per_step} is no multiple of the {workers} processes: groups stay whole"
        )
    rows, passes = p.prompts_per_step // workers * p.group_size, 1
    if p.accumulate:
        size = min(p.micro_batch, rows)
        if rows % size:
            raise ValueError(
                f"accumulate needs micro_batch {size} to divide the {rows} completions of a process's step"
            )
        rows, passes = size, rows // size
    return {
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": passes,
        "steps_per_generation": p.rollout_batches * passes,
    }


def check_cycle(p: GRPO) -> None:
    """ValueError where a state would be saved in the middle of a rollout's use: a resumed run could not go on with it."""
    cycle = p.rollout_batches * p.inner_epochs
    if p.save_every % cycle:
        raise ValueError(f"save_every {p.save_every} is no multiple of rollout_batches * inner_epochs = {cycle}")


def make_config(p: GRPO, weights: list[float], seed: int, work: Path):
    """GRPOConfig of the settings. Without `accumulate` a step is one batch, and `micro_batch` only a forward pass."""
    from trl import GRPOConfig

    check_cycle(p)
    settings = p.model_dump()
    shared = {k: settings[k] for k in ("learning_rate", "final_lr_ratio", "warmup_steps", "adam_beta2", "save_every")}
    arguments = common_arguments(
        work, seed, **shared, schedule="linear", bf16=p.bf16, gradient_checkpointing=p.gradient_checkpointing
    )
    return GRPOConfig(
        **{**arguments, "weight_decay": p.weight_decay},
        **batch_shape(p, processes()),
        max_steps=p.steps,
        num_generations=p.group_size,
        num_iterations=p.inner_epochs,
        max_completion_length=max(limit for _, limit in p.max_tokens),
        temperature=p.temperature,
        top_p=p.top_p,
        max_grad_norm=p.max_grad_norm,
        epsilon=p.clip_epsilon,
        epsilon_high=p.clip_epsilon_high,
        beta=p.kl_beta,
        sync_ref_model=p.reference_every is not None and p.kl_beta > 0,
        ref_model_mixup_alpha=1.0,
        ref_model_sync_steps=p.reference_every or 1,
        loss_type=p.loss,
        scale_rewards=p.scale_rewards,
        reward_weights=weights,
        shuffle_dataset=False,
        **vllm_arguments(p.engine),
    )


@contextlib.contextmanager
def _whole_model(trainer):
    """The policy in eval mode, unwrapped, with all its weights in reach where processes share them."""
    from trl.models.utils import unwrap_model_for_generation

    gather = trainer.args.ds3_gather_for_generation
    with (
        unwrap_model_for_generation(
            trainer.model_wrapped, trainer.accelerator, gather_deepspeed3_params=gather
        ) as model,
        trainer._dist.summon_full_params(trainer.model_wrapped, recurse=False),
    ):
        model.eval()
        yield model
        model.train()


def _rollout_func(p: GRPO, tokenizer, rollout: Rollout, seed: int):
    """TRL's hook: each prompt comes G times in a row and is sampled G times at once, `rollout_prompts` of them together.

    Each such batch has a seed of its step and its place in it, whichever process draws it.
    """

    def rollout_func(prompts: list[str], trainer) -> dict:
        group, step, index = trainer.num_generations, trainer.state.global_step, trainer.accelerator.process_index
        prompt_ids = tokenizer(prompts[::group], add_special_tokens=False)["input_ids"]
        together = p.rollout_prompts or len(prompt_ids)
        ids, logprobs = [], []
        with _whole_model(trainer) as model:
            for at in range(0, len(prompt_ids), together):
                part, place = prompt_ids[at : at + together], index * len(prompt_ids) + at
                whole = len(part) == trainer.accelerator.num_processes * len(prompt_ids)
                named = ("rollout", step) if whole else ("rollout", step, place)
                limit = token_limit(p, step)
                drawn = rollout(model, part, group, p.temperature, p.top_p, limit, derive_seed(seed, *named))
                ids += drawn[0]
                logprobs += drawn[1]
        return {
            "prompt_ids": [i for i in prompt_ids for _ in range(group)],
            "completion_ids": ids,
            "logprobs": logprobs,
        }

    return rollout_func


def _need_vllm(p: GRPO) -> None:
    """EngineError where the recipe asks for vLLM and this machine cannot have it."""
    import torch

    if importlib.util.find_spec("vllm") is None:
        raise EngineError(
            "grpo.engine is vllm, which is not installed here: pip install 'r1flow[vllm]' on a machine with a GPU, "
            "or set engine: transformers"
        )
    if not torch.cuda.is_available():
        raise EngineError(
            "grpo.engine is vllm, and there is no GPU here: the weights of each step go to a server over NCCL, and vLLM's "
            "CPU build packs its weights when it has loaded them and takes no new ones. Set engine: transformers"
        )


@contextlib.contextmanager
def _server_errors(p: GRPO):
    """What TRL says of a server that does not answer, with what to do."""
    try:
        yield
    except ConnectionError as exc:
        raise EngineError(
            f"no vLLM server answers at {p.engine.url} (waited {p.engine.timeout:.0f} s: grpo.engine.timeout). Start one on the "
            "checkpoint that this stage begins with: VLLM_SERVER_DEV_MODE=1 vllm serve CHECKPOINT "
            '--weight-transfer-config \'{"backend": "nccl"}\' --logprobs-mode processed_logprobs'
        ) from exc


def make_trainer(
    model, tokenizer, data, p: GRPO, rewards: dict, rollout: Rollout | None, seed: int, work: Path, trainer_class=None
):  # fmt: skip
    """The trainer of these settings on `data` (a datasets.Dataset with `prompt` and COLUMNS).

    Without `rollout` TRL samples by itself: by vLLM where the settings say so, else by plain `generate`. Another
    `trainer_class` than ours is for comparing them (benchmarks/grpo.py).
    """
    if p.engine.name == "vllm":
        _need_vllm(p)
    with _server_errors(p):
        trainer = (trainer_class or make_trainer_class())(
            model=model,
            reward_funcs=[function for function, _ in rewards.values()],
            args=make_config(p, [weight for _, weight in rewards.values()], seed, work),
            train_dataset=data,
            processing_class=tokenizer,
            **({"rollout_func": _rollout_func(p, tokenizer, rollout, seed)} if rollout else {}),
        )
    trainer.rows_per_pass, trainer.accumulate = p.micro_batch, p.accumulate
    trainer.token_limit = functools.partial(token_limit, p)
    if not p.accumulate and trainer.accelerator.distributed_type.value in ("FSDP", "DEEPSPEED"):
        raise ValueError(
            "weights shared by processes need `accumulate: true` under `grpo`: all run the same passes then"
        )
    return trainer


def dataset(rows: list[dict], render: Callable[[str], str]):
    """PROMPT rows as the datasets.Dataset that TRL reads: the rendered prompt and what rewards are told."""
    from datasets import Dataset

    return Dataset.from_list([{"prompt": render(r["text"]), **{c: r[c] for c in COLUMNS}} for r in rows])


def optimise(
    model,
    tokenizer,
    rows: list[dict],
    p: GRPO,
    rewards: dict[str, tuple[Callable, float]],
    render: Callable[[str], str],
    rollout: Rollout | None,
    seed: int,
    work: Path,
    progress: "Progress | None" = None,
    out: Path | None = None,
) -> list[dict]:
    """Train `model` in place on `rows` (from `lay_out`); `rewards` maps a name to (function, weight).

    `rollout` (tasks/training/rollouts.py) samples the groups; None leaves that to vLLM. Returns TRL's log, one row
    per step.

    out: folder for the trained checkpoint, written by rank 0.
    """
    data = dataset(rows, render)
    for name, (function, _) in rewards.items():
        if getattr(function, "__name__", None) != name:
            raise ValueError(f"reward {name!r} is a function called {getattr(function, '__name__', None)!r}")
    trainer = make_trainer(model, tokenizer, data, p, rewards, rollout, seed, work)
    trainer.add_callback(stopwatch(trainer))
    if progress:
        weights = {name: weight for name, (_, weight) in rewards.items()}
        shown = (_note, lambda log: grpo_log.curve([log])[0], lambda: grpo_log.latest_rollouts(trainer, weights))
        trainer.add_callback(reporter(_with_timings(progress, trainer, p), *shown))
    return run(trainer, work, out)


def _note(log: dict) -> str:
    share = log.get(grpo_log.ROLLOUT, 0.0) / log[grpo_log.STEP] if log.get(grpo_log.STEP) else 0.0
    return f"reward {log.get('reward', float('nan')):.3f}" + (f", {share:.0%} of it rollout" if share else "")


def _with_timings(progress: "Progress", trainer, p: GRPO) -> "Progress":
    """`progress`, told what each step took as well; a resumed run tells of the steps before it too."""
    told = 0

    def with_timings(*args, **kwargs):
        nonlocal told
        new, told = trainer.state.log_history[told:], len(trainer.state.log_history)
        completions = p.prompts_per_step * p.group_size * p.rollout_batches
        progress(*args, timings=grpo_log.timings(new, completions), **kwargs)

    return with_timings
