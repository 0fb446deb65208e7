"""Pretraining of a tiny decoder from scratch: Muon on the 2-D hidden weights, AdamW on the rest.

Muon: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024): momentum, then the update
is orthogonalised by five Newton-Schulz steps. It reached .96 copy accuracy where AdamW had .60 at the same cost.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.rows import derive_seed
from tasks.training import stopping
from tasks.training.probe import COLUMNS, copy_probe
from tasks.training.settings import Pretrain

if TYPE_CHECKING:
    from tasks.progress import Progress

CHUNK = 600  # documents drawn, sorted by length and batched together
SAVE_EVERY = 12  # chunks between resumable states


def build_model(p: Pretrain, tokenizer, seed: int):
    """A randomly initialised decoder of the architecture in `p`."""
    import torch
    import transformers as hf

    torch.manual_seed(seed)
    config, model = {
        "qwen2": (hf.Qwen2Config, hf.Qwen2ForCausalLM),
        "llama": (hf.LlamaConfig, hf.LlamaForCausalLM),
    }[p.architecture]
    bias = {"attention_bias": True} if p.architecture == "llama" else {}  # qwen2 has it on q, k, v; without, it learns late
    net = model(
        config(
            **bias,
            vocab_size=len(tokenizer),
            hidden_size=p.hidden,
            intermediate_size=3 * p.hidden,
            num_hidden_layers=p.layers,
            num_attention_heads=p.heads,
            num_key_value_heads=p.heads,
            max_position_embeddings=p.max_length,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=p.init_std,
        )
    )
    net.generation_config = hf.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    return net


class Muon:
    """Orthogonalised momentum for 2-D weights; weights of one shape are updated in one batched product."""

    def __init__(self, weights: list, momentum: float = 0.95):
        import torch

        self.momentum, self.groups = momentum, {}
        for w in weights:
            self.groups.setdefault(tuple(w.shape), []).append(w)
        self.buffers = {shape: torch.zeros(len(ws), *shape) for shape, ws in self.groups.items()}

    @staticmethod
    def orthogonalise(g):
        """Five quintic Newton-Schulz steps towards the nearest orthogonal matrix; shape (batch, rows, columns)."""
        x = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)
        if tall := x.shape[1] > x.shape[2]:
            x = x.mT
        for _ in range(5):
            q = x @ x.mT
            x = 3.4445 * x + (-4.7750 * q + 2.0315 * q @ q) @ x
        return x.mT if tall else x

    def step(self, lr: float) -> None:
        import torch

        for shape, weights in self.groups.items():
            g = torch.stack([w.grad for w in weights])
            self.buffers[shape].lerp_(g, 1 - self.momentum)
            update = self.orthogonalise(g.lerp(self.buffers[shape], self.momentum)) * max(1, shape[0] / shape[1]) ** 0.5
            for w, u in zip(weights, update, strict=True):
                w.data.add_(u, alpha=-lr)


def _batches(documents: list, tokenizer, tokens_per_step: int, rng: random.Random) -> list[list[tuple[list[int], int]]]:
    """Length-bucketed batches of about `tokens_per_step` tokens: rows of (ids, number of prompt ids)."""
    prompts = [tokenizer(d.prompt)["input_ids"] if d.prompt else [] for d in documents]
    responses = tokenizer([d.response for d in documents])["input_ids"]
    rows = sorted(
        ((p + r + [tokenizer.eos_token_id], len(p)) for p, r in zip(prompts, responses, strict=True)),
        key=lambda row: len(row[0]),
    )
    out, i = [], 0
    while i < len(rows):
        k = max(1, tokens_per_step // len(rows[min(len(rows) - 1, i + 20)][0]))
        out.append(rows[i : i + k])
        i += k
    if len(out) > 1 and len(out[-1]) < 8:
        out.pop()
    rng.shuffle(out)
    return out


class Pretraining:
    """One run: model, optimisers, counters; saves and restores itself between chunks."""

    def __init__(self, p: Pretrain, tokenizer, seed: int):
        import torch

        self.p, self.tokenizer, self.seed = p, tokenizer, seed
        self.model = build_model(p, tokenizer, seed)
        hidden = {n for n, w in self.model.named_parameters() if w.ndim == 2 and "embed" not in n}
        named = dict(self.model.named_parameters())
        self.rest = [w for n, w in named.items() if n not in hidden]
        self.muon = Muon([w for n, w in named.items() if n in hidden])
        self.adam = torch.optim.AdamW(self.rest, p.adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
        self.counters = {"tokens": 0, "steps": 0, "chunks": 0}
        self.curve: list[dict] = []

    def step(self, batch) -> float:
        """One optimizer step; the loss is taken on responses only, and logits computed only there."""
        import torch
        import torch.nn.functional as F

        p, pad = self.p, self.tokenizer.pad_token_id
        width = max(len(ids) for ids, _ in batch)
        x = torch.full((len(batch), width), pad)
        y = torch.full((len(batch), width), -100)
        for r, (ids, prompt) in enumerate(batch):
            x[r, : len(ids)] = torch.tensor(ids)
            y[r, prompt : len(ids)] = x[r, prompt : len(ids)]
        scored = y[:, 1:] != -100
        hidden = self.model.model(input_ids=x).last_hidden_state[:, :-1][scored]
        loss = F.cross_entropy(self.model.lm_head(hidden), y[:, 1:][scored])
        loss.backward()
        progress = min(1.0, self.counters["tokens"] / p.tokens)
        scale = min(1.0, (self.counters["steps"] + 1) / max(1, p.warmup_steps))
        scale *= 1 - (1 - p.final_lr_ratio) * progress**1.5
        torch.nn.utils.clip_grad_norm_(self.rest, 1.0)
        for group in self.adam.param_groups:
            group["lr"] = p.adam_lr * scale
        self.adam.step()
        self.muon.step(p.muon_lr * scale)
        for w in self.model.parameters():
            w.grad = None
        self.counters["tokens"] += sum(len(ids) for ids, _ in batch)
        self.counters["steps"] += 1
        return loss.item()

    def save(self, work: Path) -> None:
        """State after a chunk, renamed into place: a kill leaves the previous one."""
        import torch

        state = {"model": self.model.state_dict(), "adam": self.adam.state_dict(), "muon": self.muon.buffers}
        torch.save({**state, "counters": self.counters, "curve": json.dumps(self.curve)}, work / "state.tmp")
        (work / "state.tmp").replace(work / "state.pt")

    def restore(self, work: Path) -> bool:
        import torch

        if (work / "state.tmp").exists():
            print(f"skipped {work / 'state.tmp'}: its save was interrupted", flush=True)
        if not (work / "state.pt").is_file():
            return False
        state = torch.load(work / "state.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["adam"])
        self.muon.buffers = state["muon"]
        self.counters, self.curve = state["counters"], json.loads(state["curve"])
        return True


def pretrain(
    p: Pretrain,
    tokenizer,
    documents: Callable[[int, int, str], list],
    seed: int,
    work: Path,
    probe: Callable[[object], dict] | None = None,
    progress: "Progress | None" = None,
) -> Pretraining:
    """Train to `p.tokens` tokens; `documents(seed, count, phase)` makes the text of each chunk.

    `probe(model)` gives columns of the learning curve. Resumes from `work`; the resumed run has the same bits.

    Raises:
        stopping.Stopped: SIGTERM or Ctrl-C came before the last token; the state after the chunk is in `work`.
    """
    run = Pretraining(p, tokenizer, seed)
    run.restore(work)
    run.model.train()
    with stopping.requests() as came:
        while run.counters["tokens"] < p.tokens:
            losses = _train_chunk(run, documents, progress)
            done = run.counters["tokens"] >= p.tokens
            row = {"tokens": run.counters["tokens"], "loss": sum(losses) / len(losses), **dict.fromkeys(COLUMNS)}
            if probe and (done or run.counters["chunks"] % 4 == 0):
                row |= probe(run.model)
            run.curve.append(row)
            if not done and (came or run.counters["chunks"] % SAVE_EVERY == 0):
                run.save(work)
            if came and not done:
                seen = f"{run.counters['tokens']:,} of {p.tokens:,} tokens"
                raise stopping.Stopped(f"stopped by {came[0]} after {seen}; the next run goes on from there")
    run.model.eval()
    return run


def _train_chunk(
    run: Pretraining, documents: Callable[[int, int, str], list], progress: "Progress | None"
) -> list[float]:
    """The next CHUNK documents; the loss of each step."""
    p, seen = run.p, run.counters["tokens"]
    chunk_seed = derive_seed(run.seed, "corpus", run.counters["chunks"])
    size = [tokens for start, tokens in p.batch_tokens if seen / p.tokens >= start][-1]
    chunk = documents(chunk_seed, CHUNK, "clean" if seen / p.tokens < p.clean_share else "noisy")
    losses = []
    for batch in _batches(chunk, run.tokenizer, size, random.Random(chunk_seed)):
        losses.append(run.step(batch))
        seen = run.counters["tokens"]
        if progress:
            point = {"tokens": seen, "loss": losses[-1]}
            progress(min(seen, p.tokens), p.tokens, "tokens", f"loss {losses[-1]:.2f}", tokens=seen, point=point)
        if seen >= p.tokens:
            break
    run.counters["chunks"] += 1
    return losses


def pretrain_checkpoint(
    p: Pretrain, text, seed: int, work: Path, out: Path, progress: "Progress | None" = None, threads: int = 1
) -> tuple[dict, list[dict]]:
    """A base from scratch under `out`; `text` is a tasks.prompts.corpus.PretrainingSet. Metrics and learning curve."""
    import torch

    from tasks.training import checkpoints
    from tasks.training.tokenizer import train_tokenizer

    torch.set_num_threads(threads)
    tokenizer = train_tokenizer(text.tokenizer_texts(), text.tags, max_length=p.max_length)
    probe = copy_probe(tokenizer, text.probe_examples())
    run = pretrain(p, tokenizer, text.documents, seed, work, probe, progress)
    checkpoints.save(run.model, tokenizer, out)
    last = run.curve[-1]
    return {
        "parameters": run.model.num_parameters(),
        "vocabulary": len(tokenizer),
        "final_loss": last["loss"],
        **run.counters,
        **{name: last[name] for name in COLUMNS},
    }, run.curve
