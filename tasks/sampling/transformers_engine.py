"""Sampling with transformers, made for many short samples of a small model.

Each prompt is prefilled once and its cache repeated k times, prompts of similar length share a batch, and finished
rows leave the batch: about three times plain `generate` on a natural batch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.rows import derive_seed
from tasks.sampling.policy import Policy

if TYPE_CHECKING:
    from tasks.progress import Progress

ROWS = 1024  # sequences decoded together at most; more no longer pays on a CPU
CACHE_BYTES = 4 << 30  # of keys and values in one batch


@dataclass(frozen=True)
class Sample:
    text: str
    ids: list[int]  # generated tokens, end of sequence included
    logprobs: list[float]  # of each generated token under the sampled distribution at T=1, nats
    finish: str  # "stop" or "length"


def _new_cache(model):
    """A key-value cache that grows in strides: the library's copies itself whole at every token.

    Models with sliding windows keep the library's own.
    """
    import torch
    from transformers import Cache, DynamicCache
    from transformers.cache_utils import DynamicLayer

    if set(getattr(model.config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return DynamicCache(config=model.config)

    class StridedLayer(DynamicLayer):
        stride = 32  # tokens
        room = None  # (keys, values) with space for tokens to come; self.keys and self.values are views into it

        def update(self, key_states, value_states, *args, **kwargs):
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            length = self.get_seq_length()
            total = length + key_states.shape[-2]
            if self.room is None or total > self.room[0].shape[-2]:
                shape = (*key_states.shape[:-2], total + self.stride, key_states.shape[-1])
                room = tuple(torch.empty(shape, dtype=self.dtype, device=self.device) for _ in range(2))
                if length:
                    room[0][..., :length, :], room[1][..., :length, :] = self.keys, self.values
                self.room = room
            self.room[0][..., length:total, :], self.room[1][..., length:total, :] = key_states, value_states
            self.keys, self.values = self.room[0][..., :total, :], self.room[1][..., :total, :]
            return self.keys, self.values

        def batch_repeat_interleave(self, repeats):
            super().batch_repeat_interleave(repeats)
            self.room = None

        def batch_select_indices(self, indices):
            super().batch_select_indices(indices)
            self.room = None

    return Cache(layer_class_to_replicate=StridedLayer)


def _filter_top_p(probabilities, top_p: float):
    """Zero the tail outside the smallest set of tokens that holds `top_p` of the mass; shape (rows, vocabulary)."""
    sorted_p, order = probabilities.sort(-1, descending=True)
    tail = sorted_p.cumsum(-1) - sorted_p >= top_p
    return probabilities.masked_fill(tail.gather(-1, order.argsort(-1)), 0.0)


def _pick(logits, temperature: float, top_p: float, generator):
    """Next tokens, shape (rows,), and their log-probabilities at temperature 1."""
    import torch

    logits = logits.float()
    if temperature == 0:
        token = logits.argmax(-1)
    else:
        p = torch.softmax(logits / temperature, -1)
        p = _filter_top_p(p, top_p) if top_p < 1 else p
        token = torch.multinomial(p, 1, generator=generator)[:, 0]
    return token, torch.log_softmax(logits, -1).gather(-1, token[:, None])[:, 0]


def generate(model, prompt_ids: list[list[int]], k: int, temperature, top_p, max_tokens, seed, pad: int, end: list[int]):
    """k samples of each prompt -> (tokens, logprobs), both lists of n * k lists, samples of a prompt side by side."""
    import torch

    device = model.device
    width = max(map(len, prompt_ids))
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompt_ids], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompt_ids], device=device)
    generator = torch.Generator(device).manual_seed(seed)
    end_ids = torch.tensor(end, device=device)
    position = (mask.cumsum(1) - 1).clamp(min=0)
    cache = _new_cache(model)
    out = model(
        input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True, logits_to_keep=1
    )
    cache.batch_repeat_interleave(k)
    mask = mask.repeat_interleave(k, 0)
    position = position[:, -1].repeat_interleave(k) + 1
    logits = out.logits[:, -1].repeat_interleave(k, 0)
    rows = len(prompt_ids) * k
    tokens = torch.full((rows, max_tokens), -1, device=device)
    logprobs = torch.zeros((rows, max_tokens), device=device)
    row = torch.arange(rows, device=device)  # which sample each row of the shrinking batch is
    ended = torch.zeros(rows, dtype=torch.bool, device=device)  # finished, but still in the batch
    for t in range(max_tokens):
        token, logprob = _pick(logits, temperature, top_p, generator)
        tokens[row[~ended], t] = token[~ended]
        logprobs[row[~ended], t] = logprob[~ended]
        ended |= torch.isin(token, end_ids)
        alive = int((~ended).sum())
        if alive == 0 or t + 1 == max_tokens:
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        if alive < 0.85 * len(ended) or alive < 8:  # shrinking copies the cache: only when it pays
            keep = (~ended).nonzero()[:, 0]
            cache.batch_select_indices(keep)
            row, mask, position, token, ended = row[keep], mask[keep], position[keep], token[keep], ended[keep]
        out = model(
            input_ids=token[:, None],
            attention_mask=mask,
            position_ids=position[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        logits = out.logits[:, -1]
        position = position + 1
    lengths = (tokens >= 0).sum(1).tolist()
    tokens, logprobs = tokens.tolist(), logprobs.tolist()
    return [t[:n] for t, n in zip(tokens, lengths, strict=True)], [p[:n] for p, n in zip(logprobs, lengths, strict=True)]


def batch_rows(model, tokens: int) -> int:
    """Sequences of up to `tokens` tokens whose keys and values fit CACHE_BYTES, at most ROWS."""
    c = model.config
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    row = 2 * c.num_hidden_layers * (c.num_key_value_heads or c.num_attention_heads) * head * tokens * model.dtype.itemsize
    return max(1, min(ROWS, CACHE_BYTES // row))


def end_tokens(model, tokenizer) -> list[int]:
    """Ids that end a completion: the tokenizer's, and those of the generation config."""
    more = model.generation_config.eos_token_id
    return sorted({tokenizer.eos_token_id, *(more if isinstance(more, list) else [more] if more is not None else [])})


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
    import torch

    if not prompts:
        return []
    encoded = policy.tokenizer(prompts, add_special_tokens=False)["input_ids"]
    end = end_tokens(policy.model, policy.tokenizer)
    order = sorted(range(len(prompts)), key=lambda i: (len(encoded[i]), i))
    longest = max(map(len, encoded)) + max_tokens
    size = max(1, batch_rows(policy.model, longest) // k)
    out: list[list[Sample]] = [[] for _ in prompts]
    generated = 0
    with torch.no_grad():
        for start in range(0, len(order), size):
            part = order[start : start + size]
            tokens, logprobs = generate(
                policy.model,
                [encoded[i] for i in part],
                k,
                temperature,
                top_p,
                max_tokens,
                derive_seed(seed, "batch", start),
                policy.tokenizer.pad_token_id,
                end,
            )
            texts = policy.tokenizer.batch_decode([t[:-1] if t[-1] in end else t for t in tokens])
            for j, (t, lp) in enumerate(zip(tokens, logprobs, strict=True)):
                out[part[j // k]].append(Sample(texts[j], t, lp, "stop" if t[-1] in end else "length"))
            if progress:
                generated += sum(map(len, tokens))
                progress(min(start + size, len(order)), len(order), "prompts", tokens=generated)
    return out
