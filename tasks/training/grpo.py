"""GRPO around TRL's GRPOTrainer (paper 2.2.1): our rollouts, our order of prompts, its objective.

The order of prompts is laid out beforehand, step by step, and every rollout is seeded by its step: a resumed run
sees the same prompts and draws the same samples as an uninterrupted one.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.rows import derive_seed
from tasks.training.settings import GRPO
from tasks.training.trainer import common_arguments, reporter, run

if TYPE_CHECKING:
    from tasks.progress import Progress

Rollout = Callable[..., tuple[list[list[int]], list[list[float]]]]
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


def make_trainer_class():
    """TRL's trainer with its padding removed; made in a function because importing TRL takes seconds."""
    import torch
    from trl import GRPOTrainer

    class PackedGRPOTrainer(GRPOTrainer):
        """Same loss, less work: micro-batches sorted by length and cut to it, no gradient where the advantage is 0."""

        rows_per_pass = 64
        _idle = None

        def _compute_loss(self, model, inputs):
            idle = inputs["advantages"] == 0
            skippable = self.beta == 0 and idle.dim() == 1 and not bool(idle.all())  # backward needs one row with a graph
            self._idle = idle if skippable else None
            try:
                return super()._compute_loss(model, inputs)
            finally:
                self._idle = None

        def _get_per_token_logps_and_entropies(
            self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **kwargs
        ):
            if any(value is not None and value is not False for value in kwargs.values()):  # images, MoE: as TRL does
                return super()._get_per_token_logps_and_entropies(
                    model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **kwargs
                )
            start = input_ids.size(1) - logits_to_keep
            left, right = (attention_mask[:, :start] == 0).sum(1), attention_mask[:, start:].sum(1)
            idle = self._idle if self._idle is not None else torch.zeros_like(right, dtype=torch.bool)
            order = sorted(range(len(right)), key=lambda i: (bool(idle[i]), int(right[i]), i))
            busy = int((~idle).sum())
            passes = [order[a : min(a + self.rows_per_pass, busy)] for a in range(0, busy, self.rows_per_pass)]
            passes += [order[a : a + self.rows_per_pass] for a in range(busy, len(order), self.rows_per_pass)]
            logps, entropies = [], []
            for rows in passes:
                cut, keep = int(left[rows].min()), max(1, int(right[rows].max()))
                span = slice(cut, start + keep)
                with torch.set_grad_enabled(torch.is_grad_enabled() and not bool(idle[rows[0]])):
                    lp, entropy, _ = super()._get_per_token_logps_and_entropies(
                        model, input_ids[rows, span], attention_mask[rows, span], keep, compute_entropy=compute_entropy
                    )
                pad = (0, logits_to_keep - keep)
                logps.append(torch.nn.functional.pad(lp, pad))
                entropies.append(torch.nn.functional.pad(entropy, pad) if compute_entropy else None)
            back = torch.tensor([i for rows in passes for i in rows], device=right.device).argsort()
            entropy = torch.cat(entropies)[back] if compute_entropy else None
            return torch.cat(logps)[back], entropy, None

    return PackedGRPOTrainer


def make_config(p: GRPO, weights: list[float], seed: int, work: Path):
    """GRPOConfig of the settings; `micro_batch` bounds what is in one forward pass, the step is one batch."""
    from trl import GRPOConfig

    batch = p.prompts_per_step * p.group_size
    cycle = p.rollout_batches * p.inner_epochs
    if p.save_every % cycle:
        raise ValueError(f"save_every {p.save_every} is no multiple of rollout_batches * inner_epochs = {cycle}")
    settings = p.model_dump()
    shared = {k: settings[k] for k in ("learning_rate", "final_lr_ratio", "warmup_steps", "adam_beta2", "save_every")}
    arguments = common_arguments(
        work, seed, **shared, schedule="linear", bf16=p.bf16, gradient_checkpointing=p.gradient_checkpointing
    )
    vllm = {"use_vllm": True, "vllm_mode": "server" if p.engine == "vllm_server" else "colocate"}
    return GRPOConfig(
        **{**arguments, "weight_decay": p.weight_decay},
        max_steps=p.steps,
        per_device_train_batch_size=batch,
        steps_per_generation=p.rollout_batches,
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
        **(vllm if p.engine != "transformers" else {}),
    )


def _rollout_func(p: GRPO, tokenizer, rollout: Rollout, seed: int):
    """TRL's hook: each prompt comes G times in a row and is sampled G times at once."""

    def rollout_func(prompts: list[str], trainer) -> dict:
        group = trainer.num_generations
        step = trainer.state.global_step
        prompt_ids = tokenizer(prompts[::group], add_special_tokens=False)["input_ids"]
        model = trainer.accelerator.unwrap_model(trainer.model)
        model.eval()
        ids, logprobs = rollout(
            model, prompt_ids, group, p.temperature, p.top_p, token_limit(p, step), derive_seed(seed, "rollout", step)
        )
        model.train()
        return {"prompt_ids": [i for i in prompt_ids for _ in range(group)], "completion_ids": ids, "logprobs": logprobs}

    return rollout_func


def optimise(
    model,
    tokenizer,
    rows: list[dict],
    p: GRPO,
    rewards: dict[str, tuple[Callable, float]],
    render: Callable[[str], str],
    rollout: Rollout,
    seed: int,
    work: Path,
    progress: "Progress | None" = None,
) -> list[dict]:
    """Train `model` in place on `rows` (from `lay_out`); `rewards` maps a name to (function, weight).

    `rollout(model, prompt_ids, k, temperature, top_p, max_tokens, seed)` samples the groups. Returns TRL's log, one
    row per step.
    """
    from datasets import Dataset

    data = Dataset.from_list([{"prompt": render(r["text"]), **{c: r[c] for c in COLUMNS}} for r in rows])
    functions = [function for function, _ in rewards.values()]
    for name, function in zip(rewards, functions, strict=True):
        if getattr(function, "__name__", None) != name:
            raise ValueError(f"reward {name!r} is a function called {getattr(function, '__name__', None)!r}")
    own = p.engine == "transformers"
    trainer_class = make_trainer_class()
    trainer = trainer_class(
        model=model,
        reward_funcs=functions,
        args=make_config(p, [weight for _, weight in rewards.values()], seed, work),
        train_dataset=data,
        processing_class=tokenizer,
        **({"rollout_func": _rollout_func(p, tokenizer, rollout, seed)} if own else {}),
    )
    trainer.rows_per_pass = p.micro_batch
    weights = {name: weight for name, (_, weight) in rewards.items()}
    note = lambda log: f"reward {log.get('reward', float('nan')):.3f}"
    trainer.add_callback(reporter(progress, note, lambda log: curve([log])[0], lambda: latest_rollouts(trainer, weights)))
    return run(trainer, work)


def latest_rollouts(trainer, weights: dict[str, float], shown: int = 4) -> list[dict]:
    """Best and worst completions of the last step's group in which rewards differ most; what they got for what."""
    logs, group = trainer._logs, trainer.num_generations
    given = {name: list(logs["rewards"][name]) for name in weights}
    total = [sum(w * given[n][i] for n, w in weights.items() if given[n][i] == given[n][i]) for i in range(len(logs["prompt"]))]
    groups = [sorted(range(a, a + group), key=lambda i: -total[i]) for a in range(0, len(total) - group + 1, group)]
    if not groups:
        return []
    best = max(groups, key=lambda g: total[g[0]] - total[g[-1]])
    chosen = best if group <= shown else [*best[: shown // 2], *best[-(shown // 2) :]]
    return [
        {
            "prompt": logs["prompt"][i],
            "completion": logs["completion"][i],
            "reward": total[i],
            **{name: values[i] for name, values in given.items() if values[i] == values[i]},
            "advantage": logs["advantages"][i],
        }
        for i in chosen
    ]


def curve(log: list[dict]) -> list[dict]:
    """TRL's log as the columns of plots/<stage>.csv."""
    names = {
        "reward": "reward",
        "accuracy": "rewards/accuracy/mean",
        "format": "rewards/format/mean",
        "language": "monitor/language",
        "length": "completions/mean_length",
        "truncated": "completions/clipped_ratio",
        "entropy": "entropy",
        "grad_norm": "grad_norm",
        "kl": "kl",
        "zero_advantage_share": "frac_reward_zero_std",
        "recheck": "monitor/recheck",
        "general_reward": "rewards/preference/mean",
        "learning_rate": "learning_rate",
    }
    rows, before = [], 0.0
    for entry in log:
        row = {"step": entry["step"]}
        for column, key in names.items():
            value = entry.get(key)
            row[column] = float(value) if value is not None and value == value else None
        seen = entry.get("num_tokens", before)  # logged at each rollout, not at its further mini-batches
        row["tokens"], before = int(seen - before), seen
        rows.append(row)
    return rows


def summary(rows: list[dict], window: int = 10) -> dict:
    """First and last `window` steps of the curve, for metrics/<stage>.json."""

    def mean(part: list[dict], column: str) -> float | None:
        values = [r[column] for r in part if r[column] is not None]
        return sum(values) / len(values) if values else None

    out = {"steps": len(rows), "tokens": sum(r["tokens"] for r in rows)}
    for column in ("reward", "accuracy", "length", "language"):
        out[f"{column}_first"] = mean(rows[: max(1, min(window, len(rows) // 3))], column)
        out[f"{column}_last"] = mean(rows[-window:], column)
    return out
