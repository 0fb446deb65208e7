"""Token by token from a transformers model: k samples of each prompt, in one batch that shrinks as samples end.

Each prompt is prefilled once and its keys and values are repeated k times; finished rows leave the batch. On a natural
batch that is about three times plain `generate` (benchmarks/sampling.py).
"""

from collections.abc import Callable


def _growing_cache(model):
    """A key-value cache that grows in strides: the library's copies itself whole at every token.

    Models with sliding windows keep the library's own.
    """
    import torch
    from transformers import Cache, DynamicCache
    from transformers.cache_utils import DynamicLayer

    if not full_attention(model):
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


def full_attention(model) -> bool:
    """Whether every layer looks back over the whole sequence."""
    return set(getattr(model.config, "layer_types", None) or ["full_attention"]) == {"full_attention"}


class Growing:
    """The rows of a batch that are still decoded, with keys and values that grow token by token."""

    def __init__(self, model, prompt_ids: list[list[int]], k: int, pad: int, max_tokens: int):
        """Prefill n prompts and repeat each k times; `logits`, shape (n * k, vocabulary), are of the first new token."""
        import torch

        self.model, self.cache = model, _growing_cache(model)
        width = max(map(len, prompt_ids))
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompt_ids], device=model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompt_ids], device=model.device)
        position = (mask.cumsum(1) - 1).clamp(min=0)
        out = model(
            input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=self.cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        self.cache.batch_repeat_interleave(k)
        self.mask = mask.repeat_interleave(k, 0)
        self.position = position[:, -1].repeat_interleave(k) + 1
        self.logits = out.logits[:, -1].repeat_interleave(k, 0)

    def keep(self, rows) -> None:
        """Go on with these rows alone, int64 indices into the rows so far."""
        self.cache.batch_select_indices(rows)
        self.mask, self.position = self.mask[rows], self.position[rows]

    def step(self, token) -> None:
        """Append `token`, shape (rows,); `logits` are then of the next one."""
        import torch

        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], 1)
        out = self.model(
            input_ids=token[:, None], attention_mask=self.mask, position_ids=self.position[:, None],
            past_key_values=self.cache, use_cache=True,
        )  # fmt: skip
        self.logits = out.logits[:, -1]
        self.position = self.position + 1


class Fixed:
    """The same rows with keys and values in one block of the full length: every step has the same shapes.

    Rows that ended stay in the block and are passed over, until half of it has ended and the rest moves to a block of
    half the size: log2(rows) shapes in all, which is what makes compiling and CUDA graphs worth while.
    """

    def __init__(self, model, prompt_ids: list[list[int]], k: int, pad: int, max_tokens: int, forward=None):
        import torch

        start = Growing(model, prompt_ids, k, pad, max_tokens)
        self.model, self.forward = model, model if forward is None else forward
        self.logits, self.position, self.length = start.logits, start.position, start.mask.shape[1]
        self.room = self.length + max_tokens
        self.mask = torch.nn.functional.pad(
            start.mask, (0, max_tokens), value=1
        )  # the causal mask hides what is to come
        self.live = torch.arange(len(self.mask), device=model.device)  # rows of the block that are still decoded
        self._fill([(layer.keys, layer.values) for layer in start.cache.layers])

    def _fill(self, states: list[tuple]) -> None:
        """A fresh block that begins with these keys and values, each (rows, heads, length, head)."""
        from transformers import StaticCache

        self.cache = StaticCache(config=self.model.config, max_cache_len=self.room)
        for layer, (keys, values) in zip(self.cache.layers, states, strict=True):
            layer.update(keys[:, :, : self.length], values[:, :, : self.length])

    def keep(self, rows) -> None:
        self.live = self.live[rows]
        if 2 * len(self.live) > len(self.mask):
            return
        states = [(layer.keys[self.live], layer.values[self.live]) for layer in self.cache.layers]
        self.mask, self.position = self.mask[self.live], self.position[self.live]
        self._fill(states)
        self.live = self.live.new_tensor(range(len(self.live)))

    def step(self, token) -> None:
        tokens = token.new_zeros(len(self.mask))
        tokens[self.live] = token
        out = self.forward(
            input_ids=tokens[:, None], attention_mask=self.mask, position_ids=self.position[:, None],
            past_key_values=self.cache, use_cache=True,
        )  # fmt: skip
        self.logits = out.logits[:, -1][self.live]
        self.position, self.length = self.position + 1, self.length + 1


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


def generate(
    model, prompt_ids: list[list[int]], k: int, temperature, top_p, max_tokens, seed, pad: int, end: list[int],
    decoder: Callable = Growing,
):  # fmt: skip
    """k samples of each prompt -> (tokens, logprobs), both lists of n * k lists, samples of a prompt side by side.

    Both decoders draw alike: which rows a step draws for does not depend on how their keys are kept.
    """
    import torch

    device = model.device
    generator = torch.Generator(device).manual_seed(seed)
    end_ids = torch.tensor(end, device=device)
    batch = decoder(model, prompt_ids, k, pad, max_tokens)
    rows = len(prompt_ids) * k
    tokens = torch.full((rows, max_tokens), -1, device=device)
    logprobs = torch.zeros((rows, max_tokens), device=device)
    row = torch.arange(rows, device=device)  # which sample each row of the shrinking batch is
    ended = torch.zeros(rows, dtype=torch.bool, device=device)  # finished, but still in the batch
    for t in range(max_tokens):
        token, logprob = _pick(batch.logits, temperature, top_p, generator)
        tokens[row[~ended], t] = token[~ended]
        logprobs[row[~ended], t] = logprob[~ended]
        ended |= torch.isin(token, end_ids)
        alive = int((~ended).sum())
        if alive == 0 or t + 1 == max_tokens:
            break
        if alive < 0.85 * len(ended) or alive < 8:  # shrinking copies the cache: only when it pays
            keep = (~ended).nonzero()[:, 0]
            batch.keep(keep)
            row, token, ended = row[keep], token[keep], ended[keep]
        batch.step(token)
    lengths = (tokens >= 0).sum(1).tolist()
    tokens, logprobs = tokens.tolist(), logprobs.tolist()
    return [t[:n] for t, n in zip(tokens, lengths, strict=True)], [
        p[:n] for p, n in zip(logprobs, lengths, strict=True)
    ]
