"""What others have measured and published, beside what this roofline says of the same work.

Nothing in the roofline was fitted to them: they are its test. `mean` responses that a source does not state are marked.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tasks.reporting.forecast.devices import DEVICES, Assumptions, Device
from tasks.reporting.forecast.roofline import (
    Generation,
    attended_length,
    forward_seconds,
    generate_seconds,
    serving,
    step_seconds,
    train_seconds,
)
from tasks.reporting.forecast.shapes import KNOWN

NEMO = "[NeMo RL v0.4](https://github.com/NVIDIA-NeMo/RL/blob/r0.4.0/docs/about/performance-summary.md), on policy, Megatron, bf16"


@dataclass(frozen=True)
class Figure:
    what: str
    published: float
    unit: str
    source: str
    forecast: Callable[[Assumptions], float]
    note: str = ""


def grpo_step(
    model: str, device: Device, a: Assumptions, gpus: int, sequences: int, group: int, prompt: float, mean: float,
    limit: float, steps: int, tensor_parallel: int, recompute: bool = False,
) -> float:  # fmt: skip
    """Seconds of one rollout and `steps` optimizer steps on it, with one scoring pass for the old policy and one for the
    reference; verdicts left out."""
    shape = KNOWN[model]
    g = Generation(sequences, sequences / group, prompt, mean, limit, tensor_parallel=tensor_parallel, weight_bytes=2.0)
    tokens, length = sequences * (prompt + mean), attended_length(prompt, mean, limit)
    seconds = generate_seconds(shape, device, a, g, gpus)
    seconds += 2 * forward_seconds(shape, device, a, tokens, length, gpus)
    seconds += train_seconds(shape, device, a, tokens, length, steps, gpus, recompute)
    return seconds + shape.total * g.weights(shape, device) / (tensor_parallel * a.sync_rate)


def _nemo(model: str, gpus: int, sequences: int, mean: float, limit: float, tp: int, published: float) -> Figure:
    h100 = DEVICES["h100-80gb"]
    return Figure(
        f"GRPO step of {model}, {gpus} H100, {sequences:,} responses of {mean:,.0f} tokens", published, "s", NEMO,
        lambda a: grpo_step(model, h100, a, gpus, sequences, 16, 100, mean - 100, limit - 100, max(1, sequences // 512), tp),
        "prompts of 100 tokens assumed",
    )  # fmt: skip


def _deepscaler(a: Assumptions) -> float:
    a100, seconds = DEVICES["a100-80gb"], 0.0
    for steps, gpus, group, limit in ((1040, 8, 8, 8192), (480, 32, 16, 16_384), (230, 32, 16, 24_576)):
        args = 128 * group, group, 200.0, a.response_share * limit, float(limit), 1, 1, True
        seconds += gpus * steps * grpo_step("deepseek-r1-distill-qwen-1.5b", a100, a, gpus, *args)
    return seconds / 3600


def _served(a: Assumptions) -> float:
    """Output tokens a second of one 8-GPU node; 88 sequences a GPU, which is 14,800 / 8 over 21 tokens/s each."""
    h800, gpus, context = DEVICES["h800-80gb"], 144, 4989.0
    g = Generation(88 * gpus, 0, context, 1000, 1e9, tensor_parallel=gpus, weight_bytes=1.0)
    s = serving(KNOWN["deepseek-v3"], h800, a, g, gpus)
    return 8 * 88 / step_seconds(KNOWN["deepseek-v3"], h800, a, g, s, 88 * gpus, context)


def _open_r1(a: Assumptions) -> float:
    """Responses an hour and H100: one engine of 16 GPUs with a long queue; lengths such that three of four end by 8k."""
    h100 = DEVICES["h100-80gb"]
    g = Generation(20_000, 10_000, 200, 5400, 16_384, tensor_parallel=16, weight_bytes=1.0)
    return 20_000 / (generate_seconds(KNOWN["deepseek-r1"], h100, a, g, 16) / 3600) / 16


def _s1(a: Assumptions) -> float:
    """59K examples of 4,000 tokens, 5 epochs; batch 16."""
    tokens = 59_000 * 5 * 4000.0
    steps = 59_000 * 5 / 16
    return (
        16
        * train_seconds(KNOWN["qwen2.5-32b"], DEVICES["h100-80gb"], a, tokens, 4000, steps, 16, True, a.padding)
        / 3600
    )


def _pretraining(a: Assumptions) -> float:
    seconds = train_seconds(KNOWN["deepseek-v3"], DEVICES["h800-80gb"], a, 14.8e12, 4096, 0, 2048)
    return 2048 * seconds / 3600


FIGURES = (
    _nemo("llama-3.1-8b", 16, 2048, 1060, 4096, 1, 97.7),
    _nemo("qwen3-32b", 32, 2048, 3206, 4096, 4, 393),
    _nemo("qwen3-30b-a3b", 32, 2048, 3154, 4096, 4, 225),
    _nemo("qwen3-235b-a22b", 128, 512, 5671, 8192, 16, 506),
    _nemo("deepseek-v3", 256, 512, 745, 1536, 32, 154),
    Figure("DeepScaleR-1.5B, about 1,750 GRPO steps with verl", 3800, "A100-hours",
           "[its model card](https://huggingface.co/agentica-org/DeepScaleR-1.5B-Preview) and announcement", _deepscaler, "mean responses, how the steps after 1,040 are split, and 16 samples a prompt from 16k on assumed"),
    Figure("SFT of Qwen2.5-32B on s1's 59K examples, 5 epochs", 394, "H100-hours", "[s1](https://arxiv.org/abs/2501.19393), 5", _s1,
           "4,000 tokens an example assumed"),
    Figure("DeepSeek-V3, pretraining on 14.8T tokens (FP8)", 2_664_000, "H800-hours", "[DeepSeek-V3 report](https://arxiv.org/abs/2412.19437), table 1", _pretraining),
    Figure("DeepSeek-R1 served by its makers, decoding", 14_800, "tokens/s and node of 8 H800",
           "[DeepSeek, open-infra-index](https://github.com/deepseek-ai/open-infra-index/blob/main/202502OpenSourceWeek/day_6_one_more_thing_deepseekV3R1_inference_system_overview.md)", _served),
    Figure("DeepSeek-R1 sampled by Open-R1 (SGLang; vLLM gave 15)", 25, "responses an hour and H100",
           "[Open-R1, update 2](https://huggingface.co/blog/open-r1/update-2)", _open_r1, "mean length from their quantiles"),
)  # fmt: skip
