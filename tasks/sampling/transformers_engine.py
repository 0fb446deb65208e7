"""Sampling with transformers in this process, made for many short samples of a small model.

Prompts of similar length share a batch. The batches are laid out beforehand and each has a seed of its place, so that
the same arguments give the same samples, in whatever order and wherever its batches are sampled.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tasks.rows import derive_seed
from tasks.sampling.decoding import Fixed, Growing, full_attention, generate
from tasks.sampling.ledger import Ledger, digest
from tasks.sampling.policy import Policy, end_ids, load_policy
from tasks.sampling.sample import EngineError, Sample, checked
from tasks.sampling.settings import TransformersSettings

if TYPE_CHECKING:
    from tasks.progress import Progress

ROWS = 1024  # sequences decoded together at most; more no longer pays on a CPU
CACHE_BYTES = 4 << 30  # of keys and values in one batch


@dataclass(frozen=True)
class Batch:
    """Prompts that are sampled together."""

    places: list[int]  # of its prompts among those asked
    ids: list[list[int]]  # tokens of each prompt
    seed: int


def batch_rows(model, tokens: int) -> int:
    """Sequences of up to `tokens` tokens whose keys and values fit CACHE_BYTES, at most ROWS."""
    c = model.config
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    row = (
        2
        * c.num_hidden_layers
        * (c.num_key_value_heads or c.num_attention_heads)
        * head
        * tokens
        * model.dtype.itemsize
    )
    return max(1, min(ROWS, CACHE_BYTES // row))


def end_tokens(model, tokenizer) -> list[int]:
    """Ids that end a completion: the tokenizer's, and those of the generation config."""
    return end_ids(tokenizer, model.generation_config)


def lay_out(
    policy: Policy, prompts: list[str], k: int, max_tokens: int, seed: int, rows: int | None = None
) -> list[Batch]:
    """The batches of rendered prompts, shortest first; `rows`: sequences in one, None for what memory holds."""
    if not prompts:
        return []
    encoded = policy.tokenizer(prompts, add_special_tokens=False)["input_ids"]
    order = sorted(range(len(prompts)), key=lambda i: (len(encoded[i]), i))
    longest = max(map(len, encoded)) + max_tokens
    size = max(1, (rows or batch_rows(policy.model, longest)) // k)
    starts = range(0, len(order), size)
    parts = [(start, order[start : start + size]) for start in starts]
    return [Batch(part, [encoded[i] for i in part], derive_seed(seed, "batch", start)) for start, part in parts]


def sample_batch(
    policy: Policy, batch: Batch, k: int, temperature: float, top_p: float, max_tokens: int, decoder=Growing
) -> list[list[Sample]]:
    """k samples of each prompt of the batch, in its order."""
    import torch

    end = end_tokens(policy.model, policy.tokenizer)
    with torch.no_grad():
        tokens, logprobs = generate(
            policy.model,
            batch.ids,
            k,
            temperature,
            top_p,
            max_tokens,
            batch.seed,
            policy.tokenizer.pad_token_id,
            end,
            decoder,
        )
    if not all(math.isfinite(p) for row in logprobs for p in row):
        raise EngineError(f"engine transformers: the model {policy.sha[:12]} gives logits that are no numbers")
    texts = policy.tokenizer.batch_decode([t[:-1] if t[-1] in end else t for t in tokens])
    flat = [
        Sample(text, t, lp, "stop" if t[-1] in end else "length")
        for text, t, lp in zip(texts, tokens, logprobs, strict=True)
    ]
    return [flat[i : i + k] for i in range(0, len(flat), k)]


def sample(
    policy: Policy,
    prompts: list[str],
    k: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int,
    progress: "Progress | None" = None,
) -> list[list[Sample]]:
    """k samples of each rendered prompt, in the order given; the same arguments give the same samples.

    temperature 0 is greedy. Randomness is seeded per batch of prompts, so the batch layout is part of the protocol.
    """
    return TransformersEngine(policy).sample(prompts, k, temperature, top_p, max_tokens, seed, progress)


class TransformersEngine:
    """`policy` as an Engine. `ledger`: keeps finished batches; None for none."""

    name, continues = "transformers", True
    context: int | None = None  # tokens of prompt and completion at most; None: whatever comes

    def __init__(self, policy: Policy, settings: TransformersSettings | None = None, ledger: Ledger | None = None):
        self.policy, self.settings, self.ledger = policy, settings or TransformersSettings(), ledger
        self.sha, self.tokenizer = policy.sha, policy.tokenizer
        options = self.settings.model_dump(exclude={"name"}, exclude_defaults=True)
        self.protocol = {"transformers": options} if options else {}
        if self.settings.static_cache and not full_attention(policy.model):
            raise EngineError(
                "static_cache needs a model whose layers all attend to the whole sequence: set it to false"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        """Frees the weights; the GPU's memory goes to whoever comes next."""
        import torch

        if self.ledger is not None:
            self.ledger.close()
        self.policy = None
        self.__dict__.pop("decoder", None)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @functools.cached_property
    def decoder(self):
        """How keys and values are kept, by the settings."""
        import torch

        if not self.settings.static_cache:
            return Growing
        forward = torch.compile(self.policy.model) if self.settings.compile else None
        return functools.partial(Fixed, forward=forward)

    def sample(
        self, prompts: list[str], k: int, temperature: float, top_p: float, max_tokens: int, seed: int,
        progress: "Progress | None" = None,
    ) -> list[list[Sample]]:  # fmt: skip
        """See Engine.sample; batches that the ledger holds are read from it."""
        checked(prompts, k, temperature, top_p, max_tokens)
        out: list[list[Sample]] = [[] for _ in prompts]
        generated = done = 0
        how = {"k": k, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        self._fit(prompts, max_tokens)
        batches = lay_out(self.policy, prompts, k, max_tokens, seed, self.settings.batch_rows)
        keys = [digest([self.sha, self.protocol, batch.ids, batch.seed, *how.values()]) for batch in batches]
        kept = [self.ledger.get(key) if self.ledger is not None else None for key in keys]
        missing = [(batch, key) for batch, key, value in zip(batches, keys, kept, strict=True) if value is None]
        made = self._made([batch for batch, _ in missing], [key for _, key in missing], how)
        for batch, key, value in zip(batches, keys, kept, strict=True):
            if value is not None:
                groups = [[Sample(*s) for s in group] for group in value]
            else:
                groups = next(made)
                generated += sum(len(s.ids) for group in groups for s in group)
                if self.ledger is not None:
                    self.ledger.add(key, [[astuple(s) for s in group] for group in groups])
            for place, group in zip(batch.places, groups, strict=True):
                out[place] = group
            done += len(batch.places)
            if progress:
                progress(done, len(prompts), "prompts", tokens=generated)
        return out

    def _fit(self, prompts: list[str], max_tokens: int) -> None:
        """EngineError where a completion could run past the positions that the checkpoint knows: it would be noise."""
        if self.context is None or not prompts:
            return
        longest = max(map(len, self.tokenizer(prompts, add_special_tokens=False)["input_ids"])) + max_tokens
        if longest > self.context:
            raise EngineError(
                f"engine transformers: a prompt with {max_tokens} tokens to come needs a context of {longest}, and the "
                f"checkpoint has {self.context}: lower max_tokens, or train with a longer context"
            )

    def _made(self, batches: list[Batch], keys: list[str], how: dict) -> Iterator[list[list[Sample]]]:
        """The groups of each batch, in order; `keys` name the batches by all that decides their samples."""
        return (sample_batch(self.policy, batch, **how, decoder=self.decoder) for batch in batches)


def open_here(settings: TransformersSettings, checkpoint: Path, work: Path | None, threads: int) -> TransformersEngine:
    """The checkpoint in this process: on the GPU in bf16 where there is one, else on `threads` CPU threads."""
    policy = load_policy(checkpoint, threads)
    engine = TransformersEngine(policy, settings, ledger_of(work, policy.sha))
    engine.context = context_of(policy)
    return engine


def context_of(policy: Policy) -> int | None:
    """Positions that the checkpoint knows, by its config; None where that says nothing."""
    return getattr(policy.model.config, "max_position_embeddings", None)


def ledger_of(work: Path | None, sha: str) -> Ledger | None:
    """Where the batches of a checkpoint are kept in a stage's work folder."""
    return Ledger(work / f"samples-transformers-{sha[:16]}.jsonl") if work else None
