"""TRL's GRPOTrainer with its padding taken out and its time measured: the same loss and gradient, less work.

Completions are sorted by length, so that a forward pass is as wide as the longest of its own rows, and rows whose
advantage is 0 (all of a group rewarded alike) get no backward pass. Two ways to spend memory:

- one backward pass over the whole step (the default): quickest where the step fits into memory;
- `accumulate`: TRL's gradient accumulation over micro-batches, each sorted out of the whole step: memory of one of them.
"""

import time

ROLLOUT, REWARD, STEP = "seconds/rollout", "seconds/reward", "seconds/step"  # in TRL's log, beside its own metrics
IDLE = "idle_rows"  # share of completions without a backward pass


def make_trainer_class():
    """The class, made in a function because importing TRL takes seconds."""
    import torch
    from accelerate.utils import DistributedType
    from trl import GRPOTrainer

    SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)  # every process must run every pass

    class PackedGRPOTrainer(GRPOTrainer):
        rows_per_pass = 64
        accumulate = False
        skip_idle = True  # false: to measure what it saves
        token_limit = None  # step -> completion tokens; for vLLM, whose limit TRL sets once
        _idle = None

        def _prepare_inputs(self, generation_batch):
            before = self._buffered_inputs
            inputs = super()._prepare_inputs(generation_batch)
            if not self.accumulate or self._buffered_inputs is before or not self.model.training:
                return inputs
            window = self.args.gradient_accumulation_steps
            ready = self._buffered_inputs
            self._buffered_inputs = [
                batch for at in range(0, len(ready), window) for batch in _sorted(ready[at : at + window])
            ]
            return self._buffered_inputs[self._step % self.args.steps_per_generation]

        def _compute_loss(self, model, inputs):
            idle = inputs["advantages"] == 0
            free = self.skip_idle and self.beta == 0 and idle.dim() == 1 and self.model.training
            if free:
                self._metrics["train"][IDLE].append(float(idle.float().mean()))
            if self.accumulate:
                # The last pass of a step always runs: it is the one in which processes exchange gradients, and without
                # any gradient the optimiser would not take the step that TRL's takes.
                if free and bool(idle.all()) and not self.accelerator.sync_gradients and not self._sharded():
                    return self._without_graph(model, inputs)
                return super()._compute_loss(model, inputs)
            self._idle = idle if free and not bool(idle.all()) else None  # backward needs one row with a graph
            try:
                return super()._compute_loss(model, inputs)
            finally:
                self._idle = None

        def _sharded(self) -> bool:
            return self.accelerator.distributed_type in SHARDED

        def _without_graph(self, model, inputs):
            """The loss for its metrics, with a gradient of 0 on the smallest parameter for `backward`."""
            with torch.no_grad():
                loss = super()._compute_loss(model, inputs)
            anchor = min((w for w in model.parameters() if w.requires_grad), key=lambda w: w.numel())
            return loss + 0.0 * anchor.sum()

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

        def _generate_single_turn(self, *args, **kwargs):
            if self.use_vllm and self.token_limit is not None:
                self.vllm_generation.max_completion_length = self.token_limit(self.state.global_step)
            return super()._generate_single_turn(*args, **kwargs)

        def _generate(self, prompts):
            return self._timed(ROLLOUT, super()._generate, prompts)

        def _calculate_rewards(self, *args):
            return self._timed(REWARD, super()._calculate_rewards, *args)

        def _timed(self, name, call, *args):
            began = time.perf_counter()
            out = call(*args)
            self._metrics["train" if self.model.training else "eval"][name].append(time.perf_counter() - began)
            return out

    return PackedGRPOTrainer


def _sorted(batches: list[dict]) -> list[dict]:
    """The rows of an optimizer step anew over its micro-batches: those without advantage first, then by length.

    Each batch is TRL's dict of tensors with one row per completion, scalars of the whole step, and None.
    """
    import torch

    merged, rows = {}, len(batches[0]["advantages"])
    for key, first in batches[0].items():
        parts = [b[key] for b in batches]
        if torch.is_tensor(first) and first.dim():
            merged[key] = torch.cat(parts)
        else:
            merged[key] = [x for part in parts for x in part] if isinstance(first, list) else first
    idle, length = (merged["advantages"] == 0).tolist(), merged["completion_mask"].sum(1).tolist()
    order = sorted(range(len(length)), key=lambda i: (not idle[i], length[i], i))

    def pick(value, places: list[int]):
        if torch.is_tensor(value) and value.dim():
            return value[places]
        return [value[i] for i in places] if isinstance(value, list) else value

    chunks = [order[a : a + rows] for a in range(0, len(order), rows)]
    return [{key: pick(value, chunk) for key, value in merged.items()} for chunk in chunks]


def stopwatch(trainer):
    """A trainer callback that puts the seconds of each optimizer step into TRL's log."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        began = 0.0

        def on_step_begin(self, args, state, control, **kwargs):
            self.began = time.perf_counter()

        def on_step_end(self, args, state, control, **kwargs):
            trainer._metrics["train"][STEP].append(time.perf_counter() - self.began)

    return Stopwatch()
