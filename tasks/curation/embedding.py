"""Texts whose sentence embeddings are near: mean pooling of a local encoder, cosine, all pairs in blocks.

For sets of some ten thousand distinct texts: time grows with the square of their number. A text longer than the
encoder's window is cut into windows, and its embedding is the mean over the tokens of all of them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

BLOCK = 2048  # texts a side of one matrix product
WINDOWS = 32  # windows in one batch of the encoder
MAX_PAIRS = 20_000_000


def similar_pairs(
    folder: str | Path, texts: Iterable[tuple[np.ndarray, pa.Array]], threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(left, right int64 rows, cosine float64) of all pairs left < right at or above the threshold, ascending.

    `texts` yields (rows, string array) in any order. Raises ValueError where `folder` holds no model, or where so many
    pairs are near that the model cannot tell texts apart.
    """
    rows, vectors = embeddings(folder, texts)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    total = 0
    for left, right, cosine in _near(vectors, threshold):
        total += len(left)
        if total > MAX_PAIRS:
            raise ValueError(
                f"more than {MAX_PAIRS:,} pairs of {len(rows):,} texts have a cosine of {threshold} or more by the "
                f"model in {folder}: raise embedding_similarity, or take a model trained for sentence similarity"
            )
        found.append((rows[left], rows[right], cosine))
    left, right, cosine = (np.concatenate([part[i] for part in found]) if found else np.empty(0) for i in range(3))
    order = np.lexsort((right, left))
    return left[order].astype(np.int64), right[order].astype(np.int64), cosine[order]


def embeddings(folder: str | Path, texts: Iterable[tuple[np.ndarray, pa.Array]]) -> tuple[np.ndarray, np.ndarray]:
    """(rows int64 ascending, unit vectors float32 [rows, width]); the order in which texts come does not show."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    if not (Path(folder) / "config.json").is_file():
        raise ValueError(f"{folder}: no config.json; deduplication.embedding takes the folder of a local encoder")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise ValueError(f"{folder}: its tokenizer does not cut long texts into windows; save it with a tokenizer.json")
    safe = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, **safe).eval()
    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None) or 512, 8192)
    windows = [  # (tokens, row, place in the text), so that batches follow from the rows alone
        (ids, int(row), place)
        for batch, array in texts
        for row, text in zip(batch, array.to_pylist())
        for place, ids in enumerate(_windows(tokenizer, text, longest))
    ]
    windows.sort(key=lambda window: (len(window[0]), window[1], window[2]))
    rows = np.unique(np.array([row for _, row, _ in windows], np.int64))
    sums = np.zeros((len(rows), model.config.hidden_size))
    with torch.inference_mode():
        for start in range(0, len(windows), WINDOWS):
            part = windows[start : start + WINDOWS]
            mask = torch.zeros(len(part), len(part[-1][0]), dtype=torch.int64)
            ids = torch.full_like(mask, tokenizer.pad_token_id or 0)
            for i, (tokens, _, _) in enumerate(part):
                ids[i, : len(tokens)], mask[i, : len(tokens)] = torch.tensor(tokens), 1
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
            np.add.at(
                sums,
                np.searchsorted(rows, [row for _, row, _ in part]),
                (hidden * mask[:, :, None]).sum(1).double().numpy(),
            )
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return rows, np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0).astype(np.float32)


def _windows(tokenizer, text: str, longest: int) -> list[list[int]]:
    """The text's tokens in pieces that the encoder takes; one token of padding for a text without any."""
    pieces = tokenizer(text, truncation=True, max_length=longest, return_overflowing_tokens=True)["input_ids"]
    return [ids or [tokenizer.pad_token_id or 0] for ids in pieces]


def _near(vectors: np.ndarray, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Places left < right of near vectors. A block only proposes; the cosine itself is summed in double precision,
    so that it does not depend on how the product was cut."""
    for top in range(0, len(vectors), BLOCK):
        for side in range(top, len(vectors), BLOCK):
            product = vectors[top : top + BLOCK] @ vectors[side : side + BLOCK].T
            left, right = np.nonzero(product >= threshold - 1e-4)
            left, right = left + top, right + side
            left, right = left[left < right], right[left < right]
            cosine = np.einsum("ij,ij->i", vectors[left], vectors[right], dtype=np.float64)
            good = cosine >= threshold
            yield left[good], right[good], np.minimum(cosine[good], 1.0)
