"""Settings of the training tasks, shared by the sections of params.yaml that train something."""

from typing import Literal

from pydantic import Field, model_validator

from tasks.sampling.settings import EngineSettings, TransformersSettings
from tasks.settings import Settings


class Pretrain(Settings):
    """A decoder trained from scratch on the procedural corpus (tasks/prompts/corpus.py)."""

    architecture: Literal["qwen2", "llama"] = Field("qwen2", description="transformers model class")
    hidden: int = Field(128, ge=16, description="hidden size; the MLP is three times as wide")
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    tokens: int = Field(1_600_000, ge=1000, description="tokens seen, prompt tokens included")
    batch_tokens: list[tuple[float, int]] = Field([(0.0, 2200), (0.3, 1400)], description="(progress, tokens per step)")
    clean_share: float = Field(0.65, ge=0, le=1, description="share of the tokens, the first ones, without noise")
    muon_lr: float = Field(0.04, gt=0, description="peak learning rate of the 2-D hidden weights (Muon)")
    adam_lr: float = Field(4e-3, gt=0, description="peak learning rate of everything else (AdamW)")
    warmup_steps: int = Field(10, ge=0)
    final_lr_ratio: float = Field(0.05, ge=0, le=1)
    init_std: float = Field(0.06, gt=0)
    max_length: int = Field(512, ge=64, description="context length, tokens")


class Rope(Settings):
    """Rotary position embeddings for contexts longer than the model's own; becomes part of the published config.

    Open-R1 gave Qwen2.5-Math-7B (4,096 positions) a context of 32k by a base frequency of 300,000, without a factor
    (model card of open-r1/OpenR1-Distill-7B): `{type: default, theta: 300000, positions: 32768}`. `linear`, `yarn` and
    `llama3` are transformers' (modeling_rope_utils).
    """

    type: Literal["default", "linear", "yarn", "llama3"] = Field(
        description="`default` with a `theta` only changes the base frequency"
    )
    positions: int = Field(ge=16, description="longest context, tokens; the factor is this over the model's own")
    theta: float | None = Field(None, gt=0, description="base frequency; null: the model's own")
    low_freq_factor: float = Field(1.0, gt=0, description="llama3 only")
    high_freq_factor: float = Field(4.0, gt=0, description="llama3 only")


class Model(Settings):
    """Where a model comes from: pretrained here, a local folder, or a pinned revision on the Hub."""

    pretrain: Pretrain | None = None
    path: str | None = Field(None, description="local folder with config.json, tokenizer and *.safetensors")
    hub: str | None = Field(None, description="repository on the Hub, e.g. Qwen/Qwen2.5-1.5B")
    revision: str | None = Field(
        None, description="commit on the Hub, 40 hex digits: a branch moves, a commit does not"
    )

    rope: Rope | None = Field(
        None, description="of path or hub: a context longer than the model's own, for all that is made of it"
    )

    licence: str | None = Field(
        "not stated", description="SPDX name, of a model that somebody else trained: what is published rests on it"
    )

    @model_validator(mode="after")
    def _one_origin(self):
        if sum(x is not None for x in (self.pretrain, self.path, self.hub)) != 1:
            raise ValueError("give exactly one of pretrain, path, hub")
        if self.hub and not (
            self.revision and len(self.revision) == 40 and set(self.revision) <= set("0123456789abcdef")
        ):
            raise ValueError(f"hub model {self.hub} needs `revision`: the 40 hex digits of a commit, not a branch")
        if self.rope and self.pretrain:
            raise ValueError("rope extends a model that there is: for one pretrained here set pretrain.max_length")
        return self


class LoRA(Settings):
    """Low-rank adapters (extra `lora`) instead of all weights; what is published is the merged model."""

    rank: int = Field(16, ge=1, description="r of the adapters")
    alpha: float = Field(32.0, gt=0, description="the adapters' product is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: list[str] | Literal["all-linear"] = Field(
        "all-linear", description="modules that get one; all-linear: all but the head"
    )
    bits: Literal[4] | None = Field(
        None, description="4: QLoRA, the frozen weights in NF4 (bitsandbytes, on a GPU); null: as they are"
    )


class OnDevice(Settings):
    """How any training uses memory and the device; the mathematics is the same up to rounding, adapters aside."""

    bf16: bool = Field(False, description="mixed precision; only where the device has it")
    gradient_checkpointing: bool = Field(False, description="activations are computed again in the backward pass")
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        "auto",
        description="auto: flash attention where it is installed and bf16 runs on a GPU, else sdpa; the log says which",
    )
    lora: LoRA | None = Field(None, description="adapters instead of all weights")
    rope: Rope | None = Field(None, description="a context longer than the model's own")


class SFT(OnDevice):
    """Supervised fine-tuning with TRL's SFTTrainer; loss on the response only."""

    epochs: int = Field(2, ge=1, description="paper S: 2-3")
    batch_size: int = Field(16, ge=1, description="examples per optimizer step, over all processes")
    micro_batch: int | None = Field(
        None, ge=1, description="examples per forward pass of one process; null: its whole share"
    )
    packing: Literal["none", "padding_free", "bfd"] = Field(
        "none",
        description="none: padded; padding_free: a micro-batch in one row, same examples and loss; bfd: rows of max_length "
        "filled by best-fit decreasing, and batch_size and micro_batch count rows",
    )
    learning_rate: float = Field(gt=0, description="peak")
    final_lr_ratio: float = Field(0.1, ge=0, le=1, description="paper S: 5e-5 -> 5e-6")
    schedule: Literal["linear", "cosine"] = Field("linear", description="paper S: cosine")
    warmup_steps: int = Field(10, ge=0, description="not published")
    adam_beta2: float = Field(0.98, gt=0, lt=1, description="not published")
    max_length: int = Field(512, ge=16, description="tokens; longer examples are counted and left out, never cut")
    save_every: int = Field(200, ge=1, description="optimizer steps between resumable states")


class Gate(Settings):
    """Before RL: sampled full-CoT answers must beat direct guesses, or GRPO collapses to short guesses."""

    prompts: int = Field(64, ge=8, description="validation prompts")
    samples: int = Field(8, ge=1, description="samples per prompt and mode")
    min_advantage: float = Field(
        0.05, ge=0, description="accuracy of full-CoT samples minus accuracy of forced direct guesses"
    )
    engine: EngineSettings = Field(
        TransformersSettings(), description="what samples: its name, or a block; tasks/sampling/settings.py"
    )
