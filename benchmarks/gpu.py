"""What one device does: SFT and GRPO steps and sampling of Qwen2.5-0.5B- and 1.5B-shaped models, in one call.

    .venv/bin/python benchmarks/gpu.py --out work/gpu.json      # on a GPU: both shapes in bf16, about 10 minutes
    .venv/bin/python benchmarks/gpu.py                          # without one: a toy shape, to see that it runs

Weights are random, for a step costs the same whatever they are; a random policy hardly ever ends a completion, so all
are as long as allowed. The training code is that of the stages: TRL's SFTTrainer on rows without padding, and
tasks/training/grpo.py with our engine (mixed precision on float32 weights, AdamW, gradient checkpointing). Medians over
the steps after the first two.

MFU is 6 FLOPs per parameter and token (the output layer counts, the table of embeddings does not) plus 6 per layer,
hidden unit, token and position looked back on, over the measured rate of a large bf16 matrix product on this device;
work done again for gradient checkpointing does not count. Of a GRPO step it is that of its training half.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SHAPES = {  # config.json of Qwen/Qwen2.5-0.5B and -1.5B
    "0.5B": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936},
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936},
    "toy": {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512},
}  # fmt: skip
LOADS = {  # (rows, tokens of each, rows in a forward pass) of SFT; (prompts, group, prompt tokens, completion tokens, rows in a pass)
    "gpu": {"sft": (16, 2048, 4), "grpo": (16, 16, 128, 512, 32), "sample": (256, 128, 512)},
    "toy": {"sft": (4, 32, 2), "grpo": (2, 4, 8, 8, 4), "sample": (8, 8, 8)},
}
WARM = 2


def build(shape: str, device):
    """(model with random weights in float32, tokenizer whose words are t0, t1, …)."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    size = SHAPES[shape]
    config = Qwen2Config(
        **size,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
        eos_token_id=0,
        pad_token_id=1,
        bos_token_id=None,
    )
    with device:
        model = Qwen2ForCausalLM(config)
    words = {"<eos>": 0, "<pad>": 1} | {f"t{i}": i for i in range(2, size["vocab_size"])}
    core = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return model, PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", pad_token="<pad>")


def matrix_rate(device, bf16: bool) -> float:
    """FLOP/s of a large square matrix product, the best of several."""
    import torch

    n, kind = (8192 if device.type == "cuda" else 512), torch.bfloat16 if bf16 else torch.float32
    a, b = torch.randn(n, n, device=device, dtype=kind), torch.randn(n, n, device=device, dtype=kind)
    best = float("inf")
    for _ in range(6):
        wait(device)
        began = time.perf_counter()
        for _ in range(10):
            a @ b
        wait(device)
        best = min(best, (time.perf_counter() - began) / 10)
    return 2 * n**3 / best


def wait(device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


def train_flops(model, tokens: float, length: float) -> float:
    """Model FLOPs of one forward and backward pass over rows of `length` tokens, `tokens` in all, causal attention."""
    c = model.config
    weights = sum(w.numel() for w in model.parameters())  # the tied embeddings once: as output layer
    width = c.num_attention_heads * (c.hidden_size // c.num_attention_heads)
    return tokens * (6 * weights + 6 * c.num_hidden_layers * width * length)


class Peak:
    """Peak memory since the last reset, bytes: of the GPU, or of this process where there is none (never reset)."""

    def __init__(self, device):
        import torch

        self.cuda = device.type == "cuda"
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def bytes(self) -> int:
        import resource

        import torch

        return (
            torch.cuda.max_memory_allocated()
            if self.cuda
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )


def common(folder: Path, steps: int, device, bf16: bool, **more) -> dict:
    from tasks.training.trainer import common_arguments

    shared = {"learning_rate": 1e-6, "final_lr_ratio": 0.1, "schedule": "linear", "warmup_steps": 1, "adam_beta2": 0.99}
    return common_arguments(
        folder, 0, **shared, bf16=bf16, gradient_checkpointing=device.type == "cuda", save_every=steps
    ) | {"save_strategy": "no", **more}  # fmt: skip


def sft(shape: str, load: dict, steps: int, device, bf16: bool, rate: float, folder: Path) -> dict:
    """Optimizer steps of TRL's SFTTrainer on rows of equal length."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from tasks.training.packed_grpo import STEP, stopwatch
    from tasks.training.trainer import run

    rows, length, micro = load["sft"]
    model, tokenizer = build(shape, device)
    drawn = torch.randint(
        2, SHAPES[shape]["vocab_size"], (rows * steps, length), generator=torch.Generator().manual_seed(0)
    )
    data = [
        {"input_ids": ids, "completion_mask": [0] * (length // 8) + [1] * (length - length // 8)}
        for ids in drawn.tolist()
    ]
    peak = Peak(device)
    arguments = common(folder, steps, device, bf16, max_steps=steps, per_device_train_batch_size=micro)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **arguments, gradient_accumulation_steps=rows // micro, max_length=length, completion_only_loss=True
        ),
        train_dataset=Dataset.from_list(data),
        processing_class=tokenizer,
    )
    trainer.add_callback(stopwatch(trainer))
    seconds = statistics.median([r[STEP] for r in run(trainer, folder)][WARM:])
    return {
        "parameters": sum(w.numel() for w in model.parameters()),
        "seconds_per_step": seconds,
        "tokens_per_second": rows * length / seconds,
        "mfu": train_flops(model, rows * length, length) / seconds / rate,
        "peak_bytes": peak.bytes(),
        "load": {"rows": rows, "tokens": length, "rows_per_pass": micro},
    }


def grpo(shape: str, load: dict, steps: int, device, bf16: bool, rate: float, folder: Path) -> dict:
    """Steps of the stages' GRPO with our engine, on prompts of random words and a reward that varies."""
    import torch

    from tasks.training import grpo as task
    from tasks.training import grpo_log
    from tasks.training.grpo_settings import GRPO
    from tasks.training.packed_grpo import stopwatch
    from tasks.training.rollouts import own_rollout
    from tasks.training.trainer import run

    prompts, group, asked, answered, micro = load["grpo"]
    model, tokenizer = build(shape, device)
    words = torch.randint(
        2, SHAPES[shape]["vocab_size"], (prompts * steps, asked), generator=torch.Generator().manual_seed(1)
    )
    rows = [
        {
            "text": " ".join(f"t{w}" for w in ids),
            "id": str(i),
            "domain": "none",
            "gold": "",
            "language": "en",
            "meta": "{}",
        }
        for i, ids in enumerate(words.tolist())
    ]
    p = GRPO(
        steps=steps, prompts_per_step=prompts, group_size=group, learning_rate=1e-6, max_tokens=[(0, answered)],
        micro_batch=micro, accumulate=True, bf16=bf16, gradient_checkpointing=device.type == "cuda", save_every=steps,
    )  # fmt: skip

    def parity(prompts, completions, completion_ids, **columns):
        return [float(sum(ids) % 2) for ids in completion_ids]

    peak = Peak(device)
    trainer = task.make_trainer(
        model, tokenizer, task.dataset(rows, str), p, {"parity": (parity, 1.0)}, own_rollout(model, tokenizer, p.engine), 0, folder
    )  # fmt: skip
    trainer.args.save_strategy = "no"
    trainer.add_callback(stopwatch(trainer))
    taken = grpo_log.timings(run(trainer, folder), prompts * group)[WARM:]
    seconds = {k: statistics.median(t[k] for t in taken) for k in ("seconds", "rollout", "reward", "training")}
    tokens = statistics.fmean(t["tokens"] for t in taken)
    length = asked + tokens / (prompts * group)
    return {
        "seconds_per_step": seconds["seconds"],
        "split": seconds,
        "tokens_per_second": tokens / seconds["seconds"],
        "rollout_tokens_per_second": tokens / seconds["rollout"],
        "mfu": train_flops(model, prompts * group * length, length) / seconds["training"] / rate,
        "peak_bytes": peak.bytes(),
        "load": {
            "prompts": prompts,
            "group": group,
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "rows_per_pass": micro,
        },
    }


def sampling(shape: str, load: dict, device, bf16: bool, compiled: bool) -> dict:
    """Tokens a second of the engine alone, weights in bf16 on a GPU: growing cache, fixed cache, fixed and compiled."""
    import functools

    import torch

    from tasks.sampling.decoding import Fixed, Growing, generate

    rows, asked, answered = load["sample"]
    model, _ = build(shape, device)
    model = (model.bfloat16() if bf16 and device.type == "cuda" else model).eval()
    ids = torch.randint(
        2, SHAPES[shape]["vocab_size"], (rows // 4, asked), generator=torch.Generator().manual_seed(2)
    ).tolist()
    decoders = {"growing": Growing, "static": Fixed}
    if compiled:
        decoders["compiled"] = functools.partial(Fixed, forward=torch.compile(model))
    out = {"load": {"sequences": rows, "prompt_tokens": asked, "completion_tokens": answered}}
    for name, decoder in decoders.items():
        for _ in range(2):  # the first one compiles and warms up
            wait(device)
            began = time.perf_counter()
            with torch.no_grad():
                tokens, _lp = generate(model, ids, 4, 1.0, 1.0, answered, 3, 1, [0], decoder)
            wait(device)
            seconds = time.perf_counter() - began
        out[name] = sum(map(len, tokens)) / seconds
    return out


def measure(shapes: list[str], steps: int, compiled: bool) -> dict:
    """All of it, shape by shape."""
    import torch

    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    bf16, load = gpu, LOADS["gpu" if gpu else "toy"]
    rate = matrix_rate(device, bf16)
    name = (
        torch.cuda.get_device_name()
        if gpu
        else f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} thread(s)"
    )
    out = {
        "device": name,
        "torch": torch.__version__,
        "precision": "bf16" if bf16 else "float32",
        "matrix_flops": rate,
        "shapes": {},
    }
    for shape in shapes:
        facts = out["shapes"][shape] = {}
        with tempfile.TemporaryDirectory() as folder:
            for part in (sft, grpo):
                facts[part.__name__] = part(shape, load, steps, device, bf16, rate, Path(folder) / part.__name__)
                print(
                    f"{shape} {part.__name__}: {facts[part.__name__]['seconds_per_step']:.2f} s/step",
                    file=sys.stderr,
                    flush=True,
                )
        facts["sampling"] = sampling(shape, load, device, bf16, compiled)
    return out


def markdown(result: dict) -> str:
    """A row per shape for docs/performance.md."""
    head = f"{result['device']}, torch {result['torch']}, {result['precision']}, matrix product {result['matrix_flops'] / 1e12:.3g} TFLOP/s"
    lines = [head, "", "| shape | SFT s/step | tokens/s | MFU | peak GB | GRPO s/step (rollout + training) | tokens/s | training MFU | peak GB | engine tokens/s |",
             "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"]  # fmt: skip
    for shape, f in result["shapes"].items():
        s, g = f["sft"], f["grpo"]
        engine = ", ".join(f"{k} {v:,.0f}" for k, v in f["sampling"].items() if k != "load")
        split = f"{g['seconds_per_step']:.2f} ({g['split']['rollout']:.2f} + {g['split']['training']:.2f})"
        lines.append(
            f"| {shape} | {s['seconds_per_step']:.2f} | {s['tokens_per_second']:,.0f} | {s['mfu']:.1%} | {s['peak_bytes'] / 1e9:.1f} | {split} "
            f"| {g['tokens_per_second']:,.0f} | {g['mfu']:.1%} | {g['peak_bytes'] / 1e9:.1f} | {engine} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--shapes", nargs="+", choices=list(SHAPES), default=["0.5B", "1.5B"] if torch.cuda.is_available() else ["toy"]
    )
    parser.add_argument(
        "--steps", type=int, default=6 if torch.cuda.is_available() else 3, help="optimizer steps of each kind"
    )
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=torch.cuda.is_available(),
        help="time a compiled decoding step too",
    )
    parser.add_argument("--out", type=Path, help="everything as JSON")
    o = parser.parse_args(arguments)
    if o.steps <= WARM:
        parser.error(f"--steps must be more than {WARM}: the first ones are not counted")
    result = measure(o.shapes, o.steps, o.compile)
    if o.out:
        o.out.parent.mkdir(parents=True, exist_ok=True)
        o.out.write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
