"""Seconds of training, scoring and decoding by roofline: FLOPs over a share of the peak, bytes over a share of the bandwidth.

Training: 3 forward passes a token (Kaplan et al. 2020: 6 FLOPs a parameter), a fourth where activations are computed
again, attention over the context included. Decoding: each step reads the weights once and every sequence's keys and
values, or is bound by arithmetic; a synchronous rollout ends with its longest response, while ever fewer rows are left.
"""

import math
from dataclasses import dataclass

from tasks.reporting.forecast.devices import Assumptions, Device
from tasks.reporting.forecast.shapes import Shape

NODE = 8  # GPUs that share one machine's fast links
ENGINE_WEIGHTS = 0.7  # of an engine's memory at most for weights; the rest is for the cache
PIECES = 48  # of the decoding of one batch, integrated


@dataclass(frozen=True)
class Generation:
    """A call of the rollout or sampling engine: `sequences` responses, from which on it waits for all of them."""

    sequences: float
    prompts: float  # different ones: samples of a prompt share its prefill
    prompt: float  # tokens
    mean: float  # tokens of a response
    limit: float  # tokens, at which a response is cut
    engine: str = "vllm"
    tensor_parallel: int = 1
    memory_share: float = 0.9  # of a GPU's memory for weights and cache
    weight_bytes: float | None = None  # of a parameter; None: as the device computes, FP8 where so published

    def weights(self, shape: Shape, device: Device) -> float:
        """Bytes of a parameter in the engine."""
        return self.weight_bytes or (shape.stored if shape.stored < 2 else device.element)


@dataclass(frozen=True)
class Serving:
    """How an engine would stand on the GPUs."""

    tensor_parallel: int
    replicas: int
    slots: int  # sequences that one replica decodes together


def scaling(a: Assumptions, gpus: int) -> float:
    """Speed kept on so many GPUs."""
    return a.scaling ** math.log2(max(1.0, gpus / NODE))


def train_seconds(
    shape: Shape, device: Device, a: Assumptions, tokens: float, length: float, steps: float, gpus: int,
    recompute: bool = False, padding: float = 1.0,
) -> float:  # fmt: skip
    """Forward and backward of `tokens` in sequences of `length`, in `steps` optimizer steps."""
    flops = train_flops(shape, tokens, length) * (4 / 3 if recompute else 1) * padding
    return flops / (device.peak * a.train_share * gpus * scaling(a, gpus)) + steps * a.step_overhead


def train_flops(shape: Shape, tokens: float, length: float) -> float:
    """FLOPs of the model in training, without anything computed twice."""
    return 3 * shape.forward(length) * tokens


def forward_seconds(shape: Shape, device: Device, a: Assumptions, tokens: float, length: float, gpus: int) -> float:
    """One forward pass: prefill, or scoring by a reference, an old policy, a reward model."""
    return shape.forward(length) * tokens / (device.peak * a.forward_share * gpus * scaling(a, gpus))


def serving(shape: Shape, device: Device, a: Assumptions, g: Generation, gpus: int) -> Serving:
    """Tensor parallelism as stated, or as much more as the weights need; the rest are replicas; slots by free memory."""
    room, weights = device.memory * g.memory_share, shape.total * g.weights(shape, device)
    tp = max(1, g.tensor_parallel)
    while tp < gpus and weights / tp > ENGINE_WEIGHTS * room:
        tp *= 2
    tp = min(tp, max(1, gpus))
    replicas = max(1, gpus // tp)
    free = max(0.0, room * tp - weights)
    row = shape.cache * device.element * (g.prompt + g.mean)
    most = a.max_sequences if g.engine != "transformers" else 1024
    return Serving(tp, replicas, max(1, min(most, int(free // row))))


def generate_seconds(shape: Shape, device: Device, a: Assumptions, g: Generation, gpus: int) -> float:
    """Wall seconds until the last response of a call is there."""
    s = serving(shape, device, a, g, gpus)
    each = math.ceil(g.sequences / s.replicas)
    slots = min(each, s.slots)
    prefill = forward_seconds(shape, device, a, g.prompts * g.prompt, g.prompt, s.replicas * s.tensor_parallel)
    scale = _decay(g.mean, g.limit)
    if g.engine == "transformers":  # a batch ends before the next one starts
        batches = math.ceil(each / slots)
        return prefill + batches * _drain(shape, device, a, g, s, each / batches, 1, scale)
    full = step_seconds(shape, device, a, g, s, slots, g.prompt + g.mean / 2)
    queued = (each - slots) * g.mean / slots * full
    return prefill + queued + _drain(shape, device, a, g, s, slots, s.replicas, scale)


def _drain(shape, device, a, g: Generation, s: Serving, rows: float, replicas: int, scale: float) -> float:
    """Seconds from a full batch to its last response: lengths fall off exponentially and are cut at the limit.

    The call waits for the longest of all replicas.
    """
    longest = longest_response(rows * replicas, g.limit, scale)
    width = longest / PIECES
    seconds = 0.0
    for piece in range(PIECES):
        at = (piece + 0.5) * width
        left = max(1.0, rows * math.exp(-at / scale))
        seconds += width * step_seconds(shape, device, a, g, s, left, g.prompt + at)
    return seconds


def step_seconds(
    shape: Shape, device: Device, a: Assumptions, g: Generation, s: Serving, rows: float, context: float
) -> float:
    """One decoding step of one replica: `rows` sequences, each with `context` tokens behind it."""
    bytes_read = shape.touched(rows) * g.weights(shape, device) + rows * context * shape.cache * device.element
    flops = rows * (2 * shape.active + (shape.decoding or shape.attention) * context)
    memory = bytes_read / (s.tensor_parallel * device.bandwidth * a.bandwidth_share)
    arithmetic = flops / (s.tensor_parallel * device.peak * a.forward_share)
    layers = 0.0
    if s.tensor_parallel > 1:
        layers = shape.layers * a.layer_overhead * (3 if s.tensor_parallel > NODE else 1)
    elif g.engine == "transformers":
        layers = shape.layers * a.eager_overhead
    return max(memory, arithmetic) + layers + a.decode_overhead


def longest_response(rows: float, limit: float, scale: float) -> float:
    """Expected length of the longest of `rows` responses, tokens."""
    return min(limit, scale * (math.log(max(rows, 1.0)) + 0.5772))


def attended_length(prompt: float, mean: float, limit: float) -> float:
    """Length of the sequence that a token is in, on average over tokens: E[l^2] / E[l], longer than the mean sequence.

    A prompt of `prompt` tokens and a response as in `_decay`. Attention costs as much as if all were of this length.
    """
    if mean <= 0 or mean >= limit:
        return prompt + max(mean, 0.0)
    scale = _decay(mean, limit)
    square = 2 * scale**2 * (1 - math.exp(-limit / scale) * (1 + limit / scale))
    return (prompt**2 + 2 * prompt * mean + square) / (prompt + mean)


def _decay(mean: float, limit: float) -> float:
    """Tokens over which the share of unfinished responses falls by e, such that their mean, cut at the limit, is `mean`."""
    low, high = mean, 1e6 * limit
    for _ in range(80):
        middle = (low * high) ** 0.5
        if middle * -math.expm1(-limit / middle) < mean:
            low = middle
        else:
            high = middle
    return high
