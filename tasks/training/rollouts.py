"""Who samples the rollouts of GRPO: our transformers engine in the trainer's process, or vLLM through TRL.

vLLM stands beside the policy on its GPUs (`colocate`) or apart as a server, to which TRL sends the weights over NCCL
after each step (`server`). Both are TRL's own modes (trl/generation/vllm_generation.py, 1.16), so both need a GPU.
"""

import functools
import os
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from tasks.rows import derive_seed
from tasks.sampling.settings import TransformersSettings
from tasks.settings import Settings

Rollout = Callable[..., tuple[list[list[int]], list[list[float]]]]
Correction = Literal["sequence_mask", "sequence_truncate", "token_mask", "token_truncate"]


class VLLMRollout(Settings):
    """Rollouts by vLLM. `colocate` takes the memory options, `server` the address; the others belong to both."""

    name: Literal["vllm"] = "vllm"
    mode: Literal["colocate", "server"] = Field("colocate", description="on the trainer's GPUs, or a server apart")
    gpu_memory_utilization: float = Field(
        0.3, gt=0, lt=1, description="colocate: share of each GPU's memory for vLLM; TRL: 0.3"
    )
    tensor_parallel: int = Field(1, ge=1, description="colocate: GPUs of one engine; divides the number of processes")
    max_model_len: int | None = Field(
        None, ge=16, description="colocate: prompt and completion, tokens; null: the model's own"
    )
    sleep: bool = Field(False, description="colocate: give the memory back while the policy trains (sleep level 2)")
    url: str | None = Field(None, pattern=r"^https?://", description="server: its address, e.g. http://10.0.0.2:8000")
    group_port: int = Field(51216, ge=1, le=65535, description="server: port over which the weights go; TRL: 51216")
    timeout: float = Field(240.0, gt=0, description="server: seconds to wait until it answers; TRL: 240")
    importance_correction: Correction | None = Field(
        "sequence_mask",
        description="weighs what vLLM and the policy score differently; TRL: sequence_mask; null: no correction",
    )
    importance_max: float = Field(3.0, gt=0, description="upper bound of that weight; TRL: 3")

    @model_validator(mode="after")
    def _options_of_its_mode(self):
        if self.mode == "server" and not self.url:
            raise ValueError("mode server needs `url`: where `vllm serve` answers, e.g. http://127.0.0.1:8000")
        apart = {
            "colocate": ("url", "group_port", "timeout"),
            "server": ("gpu_memory_utilization", "tensor_parallel", "max_model_len", "sleep"),
        }
        if wrong := [key for key in apart[self.mode] if key in self.model_fields_set]:
            where = "say it to the server when it is started" if self.mode == "server" else "it belongs to mode: server"
            raise ValueError(f"{', '.join(wrong)}: no option of mode {self.mode}; {where}")
        return self


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _name(value: Any) -> Any:
    return value.get("name") if isinstance(value, dict) else getattr(value, "name", None)


RolloutEngine = Annotated[
    Annotated[TransformersSettings, Tag("transformers")] | Annotated[VLLMRollout, Tag("vllm")],
    Discriminator(
        _name,
        custom_error_type="engine",
        custom_error_message="expected transformers or vllm, or a block whose `name` is one of them: a server of another "
        "kind cannot be given the weights of each step",
    ),
    BeforeValidator(_named),
]


def vllm_arguments(engine: "TransformersSettings | VLLMRollout") -> dict:
    """Keyword arguments of TRL's GRPOConfig for that engine; empty for our own."""
    if engine.name != "vllm":
        return {}
    o = engine
    if o.mode == "colocate":
        own = {"gpu_memory_utilization": o.gpu_memory_utilization, "tensor_parallel_size": o.tensor_parallel}
        own |= {"max_model_length": o.max_model_len, "enable_sleep_mode": o.sleep}
    else:
        own = {"server_base_url": o.url, "group_port": o.group_port, "server_timeout": o.timeout}
    own["importance_sampling_correction"] = o.importance_correction is not None
    if o.importance_correction:
        own |= {"importance_sampling_mode": o.importance_correction, "importance_sampling_clip_max": o.importance_max}
    return {"use_vllm": True, "vllm_mode": o.mode} | {f"vllm_{key}": value for key, value in own.items()}


def processes() -> int:
    """Processes that train together, as `accelerate launch` tells each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_rollout(model, tokenizer, engine: TransformersSettings) -> Rollout:
    """rollout(model, prompt_ids, k, temperature, top_p, max_tokens, seed) -> (ids, logprobs), k a prompt side by side.

    More rows than `engine.batch_rows`, or than memory holds, are sampled in several batches, each with its own seed.
    """
    import torch

    from tasks.sampling.decoding import Fixed, Growing, generate
    from tasks.sampling.transformers_engine import batch_rows, end_tokens

    end, pad = end_tokens(model, tokenizer), tokenizer.pad_token_id
    forward = torch.compile(model) if engine.compile else None  # of the weights as they are at each step
    decoder = functools.partial(Fixed, forward=forward) if engine.static_cache else Growing

    def rollout(model, prompt_ids, k, temperature, top_p, max_tokens, seed):
        rows = engine.batch_rows or batch_rows(model, max(map(len, prompt_ids)) + max_tokens)
        size = max(1, rows // k)
        ids, logprobs = [], []
        with torch.no_grad():
            for at in range(0, len(prompt_ids), size):
                part = prompt_ids[at : at + size]
                own = seed if len(part) == len(prompt_ids) else derive_seed(seed, "batch", at)
                drawn = generate(model, part, k, temperature, top_p, max_tokens, own, pad, end, decoder)
                ids += drawn[0]
                logprobs += drawn[1]
        return ids, logprobs

    return rollout
