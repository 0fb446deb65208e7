"""What a stage does, in pieces that the roofline can price: training, scoring, sampling, verdicts, curation."""

from dataclasses import dataclass, field

from tasks.reporting.forecast.devices import Assumptions, Device
from tasks.reporting.forecast.memory import Training, fewest_gpus, parts
from tasks.reporting.forecast.roofline import (
    ENGINE_WEIGHTS,
    Generation,
    forward_seconds,
    generate_seconds,
    serving,
    train_flops,
    train_seconds,
)
from tasks.reporting.forecast.shapes import Shape


@dataclass(frozen=True)
class Means:
    """With what a stage works: the device, how it is assumed to behave, and cores beside it."""

    device: Device
    a: Assumptions
    cores: int


@dataclass(frozen=True)
class Train:
    shape: Shape
    tokens: float
    length: float
    steps: float
    recompute: bool = False
    padding: float = 1.0
    kind = "train"

    def seconds(self, m: Means, gpus: int) -> float:
        return train_seconds(
            self.shape, m.device, m.a, self.tokens, self.length, self.steps, gpus, self.recompute, self.padding
        )

    def flops(self) -> float:
        return train_flops(self.shape, self.tokens, self.length)


@dataclass(frozen=True)
class Score:
    """A forward pass: a reference model, an old policy, a reward model."""

    shape: Shape
    tokens: float
    length: float
    kind = "score"

    def seconds(self, m: Means, gpus: int) -> float:
        return forward_seconds(self.shape, m.device, m.a, self.tokens, self.length, gpus)

    def flops(self) -> float:
        return self.shape.forward(self.length) * self.tokens


@dataclass(frozen=True)
class Sample:
    """`calls` of an engine, one after the other; `sync`: new weights reach it before each."""

    shape: Shape
    call: Generation
    calls: float = 1
    sync: bool = False
    kind = "sample"

    def seconds(self, m: Means, gpus: int) -> float:
        each = generate_seconds(self.shape, m.device, m.a, self.call, gpus)
        if self.sync and self.call.engine != "transformers":
            tp = serving(self.shape, m.device, m.a, self.call, gpus).tensor_parallel
            each += self.shape.total * self.call.weights(self.shape, m.device) / (tp * m.a.sync_rate)
        return self.calls * each

    def flops(self) -> float:
        g, length = self.call, self.call.prompt + self.call.mean
        return self.calls * self.shape.forward(length) * (g.prompts * g.prompt + g.sequences * g.mean)

    @property
    def tokens(self) -> float:
        """Generated ones, and each prompt once: samples of a prompt share it."""
        return self.calls * (self.call.prompts * self.call.prompt + self.call.sequences * self.call.mean)

    def fewest(self, m: Means) -> int:
        """GPUs that the weights need."""
        gpus = max(1, self.call.tensor_parallel)
        weights = self.shape.total * self.call.weights(self.shape, m.device)
        while weights / gpus > ENGINE_WEIGHTS * m.device.memory * self.call.memory_share:
            gpus *= 2
        return gpus


@dataclass(frozen=True)
class Verify:
    rows: float
    kind = "verify"

    def seconds(self, m: Means, gpus: int) -> float:
        return self.rows * m.a.verify_seconds / m.cores

    def flops(self) -> float:
        return 0.0


@dataclass(frozen=True)
class Curate:
    rows: float
    start: float = 0.0  # seconds
    kind = "curate"

    def seconds(self, m: Means, gpus: int) -> float:
        return self.start + self.rows / m.a.curate_rows / m.cores

    def flops(self) -> float:
        return 0.0


Work = Train | Score | Sample | Verify | Curate


@dataclass(frozen=True)
class Step:
    """One stage and what it is estimated to do."""

    stage: str
    does: str
    works: tuple[Work, ...] = ()
    model: str = ""
    shape: Shape | None = None
    rows: float | None = None
    trained: float = 0.0  # tokens through forward and backward
    artifact: float = 0.0  # bytes of what is published
    state: float = 0.0  # bytes of resumable state while it runs
    download: float = 0.0  # bytes that the Hub's cache keeps
    most: int = 1  # GPUs that it can use
    memory: Training | None = field(default=None, compare=False)

    @property
    def sampled(self) -> float:
        """Tokens generated or scored, prompts included."""
        return sum(w.tokens for w in self.works if isinstance(w, (Sample, Score)))

    def flops(self, *kinds: str) -> float:
        return sum(w.flops() for w in self.works if not kinds or w.kind in kinds)

    def on_device(self, m: Means) -> bool:
        """Whether it occupies one: a GPU where a model works, a core in any case."""
        return not m.device.is_gpu or any(w.kind in ("train", "score", "sample") for w in self.works)

    def parts(self, m: Means, gpus: int) -> dict[str, float]:
        """kind of work -> seconds on so many GPUs; `start` is what it takes before it works."""
        model = any(w.kind in ("train", "score", "sample") for w in self.works)
        out = {"start": m.a.start_up if model else m.a.table_start if self.works or self.rows else 0.0}
        for w in self.works:
            out[w.kind] = out.get(w.kind, 0.0) + w.seconds(m, gpus)
        return out

    def fewest(self, m: Means) -> int | None:
        """GPUs that its memory needs; None where no number is enough, as one process cannot be sharded."""
        trains = fewest_gpus(self.memory, m.device, m.a) if self.memory else 1
        samples = max((w.fewest(m) for w in self.works if isinstance(w, Sample)), default=1)
        return None if trains is None else max(trains, samples)

    def held(self, m: Means, gpus: int) -> dict[str, float]:
        """What -> bytes on one device at the worst moment: of training, or of an engine that only samples."""
        if self.memory:
            return parts(self.memory, m.device, m.a, gpus)
        calls = [_held(w, m, gpus) for w in self.works if isinstance(w, Sample)]
        return max(calls, key=lambda held: sum(held.values()), default={})

    def peak(self, m: Means, gpus: int) -> float:
        """Bytes on one device at the worst moment."""
        return sum(self.held(m, gpus).values())


def _held(w: Sample, m: Means, gpus: int) -> dict[str, float]:
    """Of an engine by itself; vLLM takes its share of the memory whole, whatever the cache needs of it."""
    g, s = w.call, serving(w.shape, m.device, m.a, w.call, gpus)
    weights = w.shape.total * g.weights(w.shape, m.device) / s.tensor_parallel
    if g.engine != "transformers":
        return {"weights": weights, "kv_cache": max(0.0, m.device.memory * g.memory_share - weights)}
    rows = min(s.slots, g.sequences)
    cache = rows * (g.prompt + min(g.limit, 3 * g.mean)) * w.shape.cache * m.device.element
    return {
        "weights": weights,
        "kv_cache": cache,
        "logits": rows * w.shape.vocabulary * 4.0,
        "process": m.a.process_bytes,
    }
