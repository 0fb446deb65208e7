"""A model as far as its cost goes: parameters, key-value cache, FLOPs of attention; by config.json or by name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Shape:
    """What a decoder costs by its shape."""

    total: float  # parameters
    active: float  # parameters that one token passes through: fewer in a mixture of experts
    layers: int
    hidden: int
    vocabulary: int
    cache: float  # keys and values of one token, elements of all layers
    attention: float  # FLOPs of one token's attention for each token of its context, all layers
    experts: tuple[int, int] | None = None  # routed experts of a layer, and those that one token uses
    stored: float = 2.0  # bytes a parameter in the published checkpoint
    decoding: float | None = None  # `attention` of a decoding step, where that differs: latent attention, absorbed
    guessed: bool = False  # layers and widths follow from the number of parameters alone

    def touched(self, rows: float) -> float:
        """Parameters that a decoding step reads for `rows` sequences: of a mixture, the experts that any of them chose."""
        if self.experts is None:
            return self.total
        count, used = self.experts
        routed = (self.total - self.active) / (1 - used / count)
        return self.total - routed * (1 - used / count) ** max(rows, 0.0)

    def forward(self, length: float) -> float:
        """FLOPs of a forward pass for each token of a sequence of `length`: 2 a parameter, and causal attention."""
        return 2 * self.active + self.attention * length / 2


def shape_by_config(config: Mapping) -> Shape:
    """Shape of a Llama- or Qwen2-style decoder from its config.json: embeddings, attention, MLP, norms."""
    hidden, layers, vocabulary = config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    q, kv = heads * head, config.get("num_key_value_heads", heads) * head
    biased = config.get("model_type") == "qwen2" or config.get("attention_bias", False)
    attention = hidden * (q + 2 * kv) + q * hidden + (q + 2 * kv if biased else 0)
    mlp = 3 * hidden * config["intermediate_size"]
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    count = float(embeddings + layers * (attention + mlp + 2 * hidden) + hidden)
    return Shape(count, count, layers, hidden, vocabulary, 2.0 * layers * kv, 4.0 * layers * q)


def _dense(layers, hidden, heads, kv_heads, mlp, vocabulary, tied, head=None, kind="qwen2") -> Shape:
    return shape_by_config(
        {
            "model_type": kind, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "intermediate_size": mlp, "vocab_size": vocabulary,
            "tie_word_embeddings": tied, "head_dim": head,
        }
    )  # fmt: skip


def _mixture(base: Shape, total: float, active: float, experts: tuple[int, int]) -> Shape:
    return replace(base, total=total, active=active, experts=experts)


# DeepSeek-V3 (its report, 4.2): 61 layers, 128 heads of 192 (keys) and 128 (values), of which 512 + 64 elements are
# cached; 256 routed experts, 8 a token; published in FP8.
# A decoding step works on the cached elements themselves: each head on 576 of them for the score and on 512 for the value.
_DEEPSEEK = Shape(
    671e9, 37e9, 61, 7168, 129_280, 61 * 576.0, 2.0 * 61 * 128 * (192 + 128), (256, 8), stored=1.0,
    decoding=2.0 * 61 * 128 * (576 + 512),
)  # fmt: skip
KNOWN: dict[str, Shape] = {  # part of a model's name -> its shape, from the published config.json
    "deepseek-v3": _DEEPSEEK,
    "deepseek-r1-distill-qwen-1.5b": _dense(28, 1536, 12, 2, 8960, 151_936, True),
    "deepseek-r1": _DEEPSEEK,
    "qwen2.5-0.5b": _dense(24, 896, 14, 2, 4864, 151_936, True),
    "qwen2.5-1.5b": _dense(28, 1536, 12, 2, 8960, 151_936, True),
    "qwen2.5-math-1.5b": _dense(28, 1536, 12, 2, 8960, 151_936, True),
    "qwen2.5-7b": _dense(28, 3584, 28, 4, 18_944, 152_064, False),
    "qwen2.5-math-7b": _dense(28, 3584, 28, 4, 18_944, 152_064, False),
    "qwen2.5-14b": _dense(48, 5120, 40, 8, 13_824, 152_064, False),
    "qwen2.5-32b": _dense(64, 5120, 40, 8, 27_648, 152_064, False),
    "qwen3-32b": _dense(64, 5120, 64, 8, 25_600, 151_936, False, 128, "qwen3"),
    "qwen3-30b-a3b": _mixture(_dense(48, 2048, 32, 4, 768, 151_936, False, 128, "qwen3"), 30.5e9, 3.3e9, (128, 8)),
    "qwen3-235b-a22b": _mixture(_dense(94, 4096, 64, 4, 1536, 151_936, False, 128, "qwen3"), 235e9, 22e9, (128, 8)),
    "llama-3.2-1b": _dense(16, 2048, 32, 8, 8192, 128_256, True, 64, "llama"),
    "llama-3.1-8b": _dense(32, 4096, 32, 8, 14_336, 128_256, False, None, "llama"),
    "llama-3.3-70b": _dense(80, 8192, 64, 8, 28_672, 128_256, False, None, "llama"),
}


def shape_by_name(name: str) -> Shape | None:
    """Shape from a model's name: a known one, else a guess from its size, `…-3B`; None where the name has none."""
    for part, shape in KNOWN.items():
        if part in name.lower():
            return shape
    if found := re.search(
        r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", name.split("/")[-1].lower().replace("-", " ")
    ):
        return shape_of_size(float(found[1]) * {"b": 1e9, "m": 1e6}[found[2]])
    return None


def shape_of_size(parameters: float) -> Shape:
    """A decoder of usual proportions with so many parameters: 12 x layers x hidden^2, hidden = 110 x layers, 8 key-value
    heads of 128 or fewer."""
    layers = max(2, round((parameters / (12 * 110**2)) ** (1 / 3)))
    hidden = round((parameters / 12 / layers) ** 0.5)
    return Shape(
        parameters,
        parameters,
        layers,
        hidden,
        128_000,
        2.0 * layers * min(1024, hidden),
        4.0 * layers * hidden,
        guessed=True,
    )
