"""N-gram indexes of problems, and all overlaps of a set of texts with one."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tasks.curation.kernel import GramIndex, shingle_sets


def gram_sets(texts: pa.Array, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(offsets int64[texts + 1], hashes uint64[]): the distinct n-grams of each text, ascending."""
    return shingle_sets(texts, n, signs=False)


def build_index(
    n: int,
    names: Sequence[str],
    normals: pa.Array,
    grams: tuple[np.ndarray, np.ndarray],
    max_document_frequency: int | None,
) -> tuple[GramIndex, int]:
    """(index, n-grams left out) of items given by their `letter_keys` and `gram_sets`.

    Left out is what stands in more than `max_document_frequency` different problems. Equal texts count once there: a
    problem that several benchmarks have is no boilerplate.
    """
    offsets, hashes = grams
    items = np.repeat(np.arange(len(names), dtype=np.int32), np.diff(offsets))
    order = np.lexsort((items, hashes))
    hashes, items = hashes[order], items[order]
    distinct, starts, counts = np.unique(hashes, return_index=True, return_counts=True)
    first = first_of_equal(normals)[items].astype(np.int64)
    frequency = np.add.reduceat(first, starts) if len(starts) else counts
    kept = np.ones(len(distinct), bool) if max_document_frequency is None else frequency <= max_document_frequency
    places = np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int64)
    index = GramIndex(n, tuple(names), distinct[kept], places, items[np.repeat(kept, counts)])
    return index, int((~kept).sum())


def all_overlaps(index: GramIndex, grams: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, item, shared distinct n-grams) int64, ordered by row and item, of texts given by their `gram_sets`."""
    offsets, hashes = grams
    if not len(index.hashes) or not len(hashes):
        return (np.zeros(0, np.int64),) * 3
    rows = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    at = np.minimum(np.searchsorted(index.hashes, hashes), len(index.hashes) - 1)
    hit = index.hashes[at] == hashes
    rows, at = rows[hit], at[hit]
    lengths = index.places[at + 1] - index.places[at]
    items = index.items[np.repeat(index.places[at], lengths) + _counted_up(lengths)]
    found, shared = np.unique(np.repeat(rows, lengths) * len(index.names) + items, return_counts=True)
    return found // len(index.names), found % len(index.names), shared


def equal_pairs(left: pa.Array, right: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(position in left, position in right) of equal keys; nulls equal nothing."""
    codes = _codes(pa.concat_arrays([left, right]))
    left, right = codes[: len(left)], codes[len(left) :]
    order = np.argsort(right, kind="stable")
    first, last = (np.searchsorted(right[order], left, side) for side in ("left", "right"))
    lengths = np.where(left < 0, 0, last - first)
    return np.repeat(np.arange(len(left)), lengths), order[np.repeat(first, lengths) + _counted_up(lengths)]


def first_of_equal(keys: pa.Array) -> np.ndarray:
    """bool per key: no earlier one is equal."""
    out = np.zeros(len(keys), bool)
    out[np.unique(_codes(keys), return_index=True)[1]] = True
    return out


def _codes(keys: pa.Array) -> np.ndarray:
    """A number for each key, equal for equal keys, -1 for null."""
    return keys.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)


def _counted_up(lengths: np.ndarray) -> np.ndarray:
    """0, 1, … of each length in turn."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
