"""What a piece of training or sampling costs: parameters, FLOPs, hours, bytes. Estimates, with every assumption named.

FLOPs: 6 per parameter and token trained (forward and backward), 2 per parameter and token sampled or scored
(Kaplan et al. 2020, appendix of section 2; attention over long contexts is left out, which underestimates 32k tokens).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

TRAIN, FORWARD = 6, 2  # FLOPs per parameter and token
BYTES_PER_TOKEN = 4.0  # of text; zstd takes about two thirds of it away
COMPRESSION = 3.0
ROW_OVERHEAD = 200  # bytes of ids and columns of one row, compressed


@dataclass(frozen=True)
class Device:
    """A device, and the share of its peak that a stage is assumed to reach."""

    name: str
    unit: str  # what one hour of it is called
    peak: float  # FLOP/s, dense, at the precision trained in
    train_share: float  # model FLOPs utilisation of training
    sample_share: float  # the same of sampling, which waits for memory most of the time
    start_up: float  # seconds a stage takes before it works
    parameter_bytes: int  # of a published checkpoint
    source: str

    def seconds(self, train_flops: float, sample_flops: float) -> float:
        work = train_flops / (self.peak * self.train_share) + sample_flops / (self.peak * self.sample_share)
        return work + self.start_up if work else 0.0


_GPU = "bf16 dense peak of the data sheet; 35 % of it in training, 10 % in sampling are assumed, not measured"
DEVICES = {
    d.name: d
    for d in (
        Device("cpu-core", "CPU", 4e10, 1.0, 1.0, 8.0, 4, "4e10 FLOP/s fp32 effective, measured on one core: "
               "pretraining 525k parameters on 1.6M tokens took 139 CPU-s; 8 s to import torch and trl"),
        Device("a100-80gb", "GPU", 312e12, 0.35, 0.10, 120.0, 2, _GPU + "; 120 s to start a stage"),
        Device("h100-80gb", "GPU", 989e12, 0.35, 0.10, 120.0, 2, _GPU + "; 120 s to start a stage"),
        Device("h800-80gb", "GPU", 989e12, 0.35, 0.10, 120.0, 2, _GPU + "; 120 s to start a stage"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Parameters of a model: all of them, and those one token passes through (fewer in a mixture of experts)."""

    total: float
    active: float


MIXTURES = {"deepseek-v3": Size(671e9, 37e9), "deepseek-r1": Size(671e9, 37e9)}  # DeepSeek-V3 report, abstract


def size_by_name(name: str) -> Size | None:
    """Size from a model's name: `Qwen2.5-1.5B` -> 1.5e9; None where the name has none."""
    for part, size in MIXTURES.items():
        if part in name.lower():
            return size
    if found := re.search(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", name.split("/")[-1].lower().replace("-", " ")):
        count = float(found[1]) * {"b": 1e9, "m": 1e6}[found[2]]
        return Size(count, count)
    return None


def size_by_config(config: Mapping) -> Size:
    """Size of a Llama- or Qwen2-style decoder from its config.json: embeddings, attention, MLP, norms."""
    hidden, layers, vocabulary = config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    q, kv = heads * head, config.get("num_key_value_heads", heads) * head
    biased = config.get("model_type") == "qwen2" or config.get("attention_bias", False)
    attention = hidden * (q + 2 * kv) + q * hidden + (q + 2 * kv if biased else 0)
    mlp = 3 * hidden * config["intermediate_size"]
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    count = float(embeddings + layers * (attention + mlp + 2 * hidden) + hidden)
    return Size(count, count)


def table_bytes(rows: float, tokens: float) -> float:
    """Bytes of a Parquet table with that many rows and tokens of text."""
    return rows * ROW_OVERHEAD + tokens * BYTES_PER_TOKEN / COMPRESSION
