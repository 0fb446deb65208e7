"""Bytes on one GPU at the worst moment of a stage, with the sharding chosen, and how many GPUs it needs at least."""

import math
from dataclasses import dataclass, replace

from tasks.reporting.forecast.devices import Assumptions, Device
from tasks.reporting.forecast.shapes import Shape

USABLE = 0.95  # of the memory; the rest is fragmentation
TILE = 4096  # tokens whose logits TRL 1.16 holds at once (trl/kernels/chunked_logprob.py)


@dataclass(frozen=True)
class Training:
    """What decides over the memory of a training stage."""

    shape: Shape
    rows: float  # sequences whose activations one GPU holds at once, at most its share of `batch`
    length: float  # tokens of the longest of them
    logits: float  # tokens of each whose logits the loss needs
    recompute: bool  # gradient checkpointing
    sharded: bool  # FSDP or ZeRO-3: weights, gradients and optimizer states over all GPUs
    reference: bool = False  # a frozen copy of the policy for the KL penalty
    lora_rank: int | None = None  # adapters: the base is frozen and has neither gradient nor optimizer state
    lora_bits: int | None = None
    rollout_share: float = 0.0  # of the memory, given to an engine beside the policy
    asleep: bool = False  # that engine gives its memory back while the policy trains
    tiled: bool = False  # the loss is taken in tiles, as TRL's trainers do: never all logits at once
    batch: float = 1e9  # sequences of an optimizer step, over all GPUs
    longest: float = 0.0  # tokens of the longest sequence that may come, where `length` is a mean

    def in_passes(self, rows: int) -> "Training":
        """The same with so many sequences in each pass, all of them the longest there may be."""
        more = max(0.0, self.longest - self.length)
        return replace(
            self, rows=float(rows), length=self.length + more, logits=self.logits + more if self.logits else 0.0
        )


def parts(t: Training, device: Device, a: Assumptions, gpus: int) -> dict[str, float]:
    """name -> bytes on one GPU: weights, gradients, optimizer, reference, activations, logits, rollout engine, process.

    An engine that sleeps while the policy trains counts only as far as it needs more than the training pass.
    """
    shards = gpus if t.sharded else 1
    total = t.shape.total
    if t.lora_rank:
        adapters = 2 * t.lora_rank * t.shape.hidden * 7 * t.shape.layers * 1.0  # seven linear modules a layer
        base = total * (0.55 if t.lora_bits == 4 else 4.0)
        weights, trained = (base + 4 * adapters) / shards, adapters
    else:
        weights, trained = 4 * total / shards, total
    whole = t.shape.touched(0) if t.shape.experts else total  # of a mixture, what is not spread by expert parallelism
    if shards > 1:
        gathered = device.element * whole / t.shape.layers * 2  # this layer's and the next one's
    else:
        gathered = 2.0 * total if device.is_gpu and t.lora_bits is None else 0.0  # autocast's bf16 copies
    rows = max(1.0, min(t.rows, t.batch / gpus))
    stream = device.element if shards > 1 else 4.0  # of the residual stream, which autocast leaves in float32
    kept = stream * t.shape.layers + a.activation_bytes if t.recompute else a.activation_bytes * t.shape.layers
    at_once = min(rows * t.logits, TILE) if t.tiled else rows * t.logits
    head = 4.0 * t.shape.vocabulary * t.shape.hidden if t.tiled and not t.lora_rank else 0.0  # summed over the tiles
    activations = rows * t.length * t.shape.hidden * kept
    logits = at_once * t.shape.vocabulary * a.logit_bytes * (1 if device.is_gpu else 2) + head
    rollout = t.rollout_share * device.memory
    return {
        "weights": weights + gathered,
        "gradients": 4 * trained / shards,
        "optimizer": 8 * trained / shards,
        "reference": device.element * total / shards if t.reference and not t.lora_rank else 0.0,
        "activations": activations,
        "logits": logits,
        "rollout": max(0.0, rollout - activations - logits) if t.asleep else rollout,
        "process": a.process_bytes,
    }


def peak(t: Training, device: Device, a: Assumptions, gpus: int) -> float:
    return sum(parts(t, device, a, gpus).values())


def fewest_gpus(t: Training, device: Device, a: Assumptions, most: int = 8192) -> int | None:
    """GPUs from which on it fits, a power of two; None where no number of them helps."""
    for power in range(int(math.log2(most)) + 1):
        if peak(t, device, a, 2**power) <= USABLE * device.memory:
            return 2**power
        if not t.sharded:
            return None
    return None


def most_rows(t: Training, device: Device, a: Assumptions, gpus: int) -> int | None:
    """Sequences in a pass, a power of two, that fit on so many GPUs; None where not even one does."""
    rows = 2 ** int(math.log2(max(1.0, min(t.rows, t.batch / gpus))))
    while rows >= 1:
        if peak(t.in_passes(rows), device, a, gpus) <= USABLE * device.memory:
            return rows
        rows //= 2
    return None
