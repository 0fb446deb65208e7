"""Hardware by its data sheet, and every assumption that a forecast makes, each with its unit and where it is from."""

from dataclasses import dataclass

from pydantic import Field

from tasks.settings import Settings


@dataclass(frozen=True)
class Device:
    """One accelerator, or one core of a CPU."""

    name: str
    unit: str  # GPU or CPU: what one hour of it is called
    peak: float  # FLOP/s, dense, at the precision worked in
    bandwidth: float  # bytes/s of its memory
    memory: float  # bytes
    element: int  # bytes of a weight, a cached key and an activation
    price: float  # dollars an hour where no other is given
    source: str

    @property
    def is_gpu(self) -> bool:
        return self.unit == "GPU"


_SHEET = "bf16 dense peak, bandwidth and memory of NVIDIA's data sheet; $2 an hour is what the paper reckons with (S)"
DEVICES = {
    d.name: d
    for d in (
        Device("cpu-core", "CPU", 4e10, 1e10, 12e9, 4, 0.0, "one core of an Intel Xeon at 2.50 GHz, fp32; its speeds are "
               "fitted to eight stages of a measured run (docs/plan.md); no price: a machine of your own"),
        Device("a100-80gb", "GPU", 312e12, 2.039e12, 80e9, 2, 2.0, _SHEET),
        Device("h100-80gb", "GPU", 989e12, 3.35e12, 80e9, 2, 2.0, _SHEET),
        Device("h800-80gb", "GPU", 989e12, 3.35e12, 80e9, 2, 2.0, _SHEET),
        Device("h200-141gb", "GPU", 989e12, 4.8e12, 141e9, 2, 2.0, _SHEET),
    )
}  # fmt: skip


class Assumptions(Settings):
    """What the recipe does not say and the data sheet does not either. `r1 plan --what-if assume.<field>=…` changes one."""

    prompt_share: float = Field(0.15, gt=0, le=1, description="mean prompt, of prompts.max_prompt_tokens")
    response_share: float = Field(0.25, gt=0, lt=1, description="mean response, of the token limit")
    kept_share: float = Field(0.5, gt=0, le=1, description="candidates that survive rejection sampling")
    train_share: float = Field(0.40, gt=0, le=1, description="of the peak, in training; recomputed activations count")
    forward_share: float = Field(0.45, gt=0, le=1, description="of the peak, in prefill and scoring")
    bandwidth_share: float = Field(0.60, gt=0, le=1, description="of the memory bandwidth, in decoding")
    decode_overhead: float = Field(
        0.006, ge=0, description="s of a decoding step beside the arithmetic: scheduler, sampling"
    )
    layer_overhead: float = Field(
        40e-6, ge=0, description="s of a layer's collectives in a decoding step on several GPUs; 3 x across nodes"
    )
    eager_overhead: float = Field(
        0.8e-3, ge=0, description="s of a layer in a decoding step of the transformers engine"
    )
    step_overhead: float = Field(0.2, ge=0, description="s of an optimizer step beside the arithmetic")
    padding: float = Field(1.3, ge=1, description="tokens computed for each token trained where SFT does not pack")
    scaling: float = Field(0.97, gt=0, le=1, description="speed kept at each doubling of GPUs beyond one node of 8")
    sync_rate: float = Field(5e9, gt=0, description="bytes/s and GPU at which new weights reach the rollout engine")
    verify_seconds: float = Field(
        0.02, ge=0, description="s of a core for a verdict; code in the sandbox 0.017, maths 0.001"
    )
    curate_rows: float = Field(
        2000.0, gt=0, description="rows/s and core through filters, duplicates and contamination"
    )
    start_up: float = Field(120.0, ge=0, description="s that a stage on a device takes before it works")
    table_start: float = Field(10.0, ge=0, description="s that a stage without a model takes before it works")
    compile_start: float = Field(40.0, ge=0, description="s that `reasoning` takes to compile its kernels")
    max_sequences: int = Field(
        1024, ge=1, description="sequences that one engine decodes together at most (vLLM's default on 80 GB)"
    )
    worth: float = Field(
        0.25, ge=0, lt=1, description="share of its time that twice the GPUs must save before a stage is given them"
    )
    kv_share: float = Field(
        0.9, gt=0, le=1, description="of a GPU's memory for weights and cache where a stage only samples"
    )
    checkpoint_bytes: float = Field(
        4.0, gt=0, description="bytes a parameter of a checkpoint trained in float32; one trained in bf16 has 2"
    )
    activation_bytes: float = Field(
        34.0,
        gt=0,
        description="bytes a token, layer and hidden unit kept without checkpointing (Korthikanti et al. 2022)",
    )
    process_bytes: float = Field(
        1e9, ge=0, description="bytes of a process beside its tensors: CUDA's context; on a CPU the libraries"
    )
    logit_bytes: float = Field(
        6.0, gt=0, description="bytes of one logit in training: itself, its log-softmax and its gradient, bf16"
    )


# The first six are fitted by `python benchmarks/forecast.py --calibrate` to eight stages of a measured run of the `cpu` recipe
# (docs/plan.md); verdicts as in docs/verification.md.
CPU = Assumptions(
    train_share=0.955, forward_share=0.478, step_overhead=0.0403, decode_overhead=0.00255, start_up=5.5, compile_start=46.5,
    layer_overhead=0.0, eager_overhead=0.0, padding=1.0, verify_seconds=0.00034, table_start=0.5, process_bytes=5e8,
)  # fmt: skip


def assumptions(device: Device) -> Assumptions:
    return Assumptions() if device.is_gpu else CPU
