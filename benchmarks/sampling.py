"""The sampling engines beside plain `generate`, on the same checkpoint, prompts and settings: tokens/s and the ratio.

    python benchmarks/sampling.py [--checkpoint data/17_r1] [--prompts 64] [--samples 8] [--rounds 3] [--url URL] [--json]

Without a checkpoint there, one of the same shape with random weights is sampled. Each engine is warmed up and measured
`--rounds` times in turn; the medians count. `--url` adds the server engine against a server that serves the checkpoint
(`r1 serve`). Tokens are generated tokens, ends included. The ratio is of tokens per CPU-second of this process, which a
busy machine does not change; a server's CPU time is not seen here, so its ratio is of wall time. One thread unless
OMP_NUM_THREADS says otherwise.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.prompts.running_sums import problems
from tasks.prompts.templates import render
from tasks.sampling.engine import Engine, engine_settings, open_engine
from tasks.sampling.policy import end_ids

ASK = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 128}


def plain_generate(engine, prompts: list[str], k: int, seed: int) -> int:
    """Generated tokens of transformers' own `generate` on the same batch: left-padded, sampled to the last row's end."""
    import torch

    torch.manual_seed(seed)
    tokenizer, model = engine.tokenizer, engine.policy.model
    end = end_ids(tokenizer, model.generation_config)
    batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False, padding_side="left")
    with torch.no_grad():
        out = model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=True, top_k=0,
            temperature=ASK["temperature"], top_p=ASK["top_p"], max_new_tokens=ASK["max_tokens"], num_return_sequences=k,
            eos_token_id=end, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    new = out[:, batch["input_ids"].shape[1] :]
    ended = torch.isin(new, torch.tensor(end)).int()
    return int((ended.cumsum(1) - ended == 0).sum())  # up to and with each row's first end


def drawn(engine: Engine, prompts: list[str], k: int, seed: int) -> int:
    """Generated tokens of one of our engines."""
    return sum(s.tokens for group in engine.sample(prompts, k, **ASK, seed=seed) for s in group)


def measure(ways: dict, rounds: int) -> dict[str, dict]:
    """Name -> medians over the rounds; in each round every way has its turn."""
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        for name, way in ways.items():
            begun, cpu = time.perf_counter(), time.process_time()
            tokens = way(seed=round_)
            if round_:  # the first warms up: it compiles, and fills caches
                found[name].append((time.perf_counter() - begun, time.process_time() - cpu, tokens))
    return {
        name: {
            "tokens": round(statistics.median(t for _, _, t in runs)),
            "seconds": round(statistics.median(s for s, _, _ in runs), 3),
            "tokens_per_second": round(statistics.median(t / s for s, _, t in runs), 1),
            "tokens_per_cpu_second": round(statistics.median(t / c for _, c, t in runs), 1),
        }
        for name, runs in found.items()
    }


def random_checkpoint(folder: Path) -> Path:
    """A checkpoint of the cpu recipe's shape, untrained: its samples run to the token limit."""
    from tasks.prompts.corpus import pretraining_set
    from tasks.provenance.artifacts import write_manifest
    from tasks.training.pretrain import pretrain_checkpoint
    from tasks.training.settings import Pretrain

    shape = Pretrain(architecture="qwen2", hidden=128, layers=2, heads=4, tokens=20_000)
    pretrain_checkpoint(shape, pretraining_set("bare"), 0, folder / "work", folder / "checkpoint")
    write_manifest(folder / "checkpoint", stage="benchmark")
    return folder / "checkpoint"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path(__file__).parents[1] / "data/17_r1")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8, help="of each prompt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="the static cache compiled, too: for a GPU")
    parser.add_argument("--url", help="of a server that serves the checkpoint, up to and including /v1")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        there = (args.checkpoint / "config.json").is_file()
        compare(args, args.checkpoint if there else random_checkpoint(Path(temporary)), there)


def compare(args: argparse.Namespace, checkpoint: Path, trained: bool) -> None:
    """Measure every way on one checkpoint and print them with their ratios."""
    prompts = [render("bare", p.text) for p in problems(11, args.prompts)]
    threads = int(os.environ["OMP_NUM_THREADS"])
    blocks = {"transformers engine": "transformers", "static cache": {"name": "transformers", "static_cache": True}}
    if args.compile:
        blocks["static cache, compiled"] = {"name": "transformers", "static_cache": True, "compile": True}
    if args.url:
        blocks["server engine"] = {"name": "server", "url": args.url}
    engines = {name: open_engine(engine_settings(b), checkpoint, threads=threads) for name, b in blocks.items()}
    ways = {"plain generate": lambda seed: plain_generate(engines["transformers engine"], prompts, args.samples, seed)}
    ways |= {n: lambda seed, e=e: drawn(e, prompts, args.samples, seed) for n, e in engines.items()}
    found = measure(ways, args.rounds)
    for engine in engines.values():
        engine.__exit__()
    plain = found["plain generate"]
    for name, row in found.items():
        unit = "tokens_per_second" if name == "server engine" else "tokens_per_cpu_second"
        row["ratio"] = round(row[unit] / plain[unit], 2)
    what = {"checkpoint": str(args.checkpoint) if trained else "random weights", "prompts": args.prompts}
    what |= {"samples": args.samples, "rounds": args.rounds, "threads": threads, **ASK}
    if args.json:
        print(json.dumps({**what, "engines": found}))
        return
    print(", ".join(f"{k} {v}" for k, v in what.items()))
    print("| way | tokens | s | tokens/s | tokens/CPU-s | ratio |\n|---|---|---|---|---|---|")
    for name, row in found.items():
        rates = f"{row['tokens_per_second']:,.0f} | {row['tokens_per_cpu_second']:,.0f}"
        print(f"| {name} | {row['tokens']:,} | {row['seconds']:.2f} | {rates} | {row['ratio']:.2f} |")


if __name__ == "__main__":
    main()
