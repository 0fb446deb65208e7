"""An inverted index over the rarest shingles of texts: exact, so it leaves out only pairs that cannot be near.

Prefix filter (Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007): with all shingles in one order, two
sets A, B of Jaccard >= t share at least ceil(t max(|A|, |B|)) elements, so the first |A| - ceil(t |A|) + 1 of A and
the first |B| - ceil(t |B|) + 1 of B have one in common. Of the smaller set A already the first
|A| - ceil(2t / (1 + t) |A|) + 1 will do (Xiao et al. 2008). With the rarest shingles first, thousands of dissimilar
texts around one template share none of these, though they may share a MinHash band.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit


class Index(NamedTuple):
    """Postings of shingles; `found` holds the answer of the last probe and is empty where there is no index."""

    offsets: np.ndarray  # int64[texts + 1], into `shingles`
    inner: np.ndarray  # int64[texts], end of the shorter prefix
    shingles: np.ndarray  # int32, numbers of the shingles in a text's prefix that another prefix has too
    begin: np.ndarray  # int64[numbers + 1], into `postings`
    filled: np.ndarray  # int32[numbers]
    postings: np.ndarray  # int32
    found: np.ndarray  # int64[texts]
    mark: np.ndarray  # int64[texts + 1]; the last one counts the probes


@njit(nogil=True, cache=True)
def nothing():
    """No index: every pair is looked at."""
    none, small, large = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64)
    return Index(large, large, none, large, small, none, large, large)


@njit(nogil=True, cache=True)
def _prefixes(offsets, hashes, threshold):
    """The rarest shingles of every text, as many as the threshold needs: (offsets, hashes).

    Rarity is counted in a table that hashes may share. That is still one order for all texts: (count, hash).
    """
    total = offsets[-1] - offsets[0]
    size = 1024
    while size < total and size < 1 << 24:
        size *= 2
    counts = np.zeros(size, np.int32)
    for i in range(offsets[0], offsets[-1]):
        counts[hashes[i] & np.uint64(size - 1)] += 1
    ends = np.zeros(len(offsets), np.int64)
    for text in range(len(offsets) - 1):
        shingles = offsets[text + 1] - offsets[text]
        length = shingles - math.ceil(threshold * shingles - 1e-6) + 1
        ends[text + 1] = ends[text] + min(length, shingles)
    chosen = np.empty(ends[-1], np.uint64)
    for text in range(len(offsets) - 1):
        own = hashes[offsets[text] : offsets[text + 1]]
        rarity = np.empty(len(own), np.int64)
        for i in range(len(own)):  # `own` is sorted: its places stand for its hashes
            rarity[i] = np.int64(counts[own[i] & np.uint64(size - 1)]) << 32 | i
        rarity.sort()
        for i in range(ends[text + 1] - ends[text]):
            chosen[ends[text] + i] = own[rarity[i] & 0xFFFFFFFF]
    return ends, chosen


@njit(nogil=True, cache=True)
def build(offsets, hashes, threshold):
    """An empty index for texts whose shingles are hashes[offsets[i] : offsets[i + 1]]."""
    ends, chosen = _prefixes(offsets, hashes, threshold)
    order = np.argsort(chosen, kind="mergesort")
    numbers = np.full(len(chosen), -1, np.int32)
    begin = np.zeros(len(chosen) // 2 + 1, np.int64)
    count = 0
    i = 0
    while i < len(order):
        j = i + 1
        while j < len(order) and chosen[order[j]] == chosen[order[i]]:
            j += 1
        if j - i > 1:
            for k in range(i, j):
                numbers[order[k]] = count
            begin[count + 1] = begin[count] + (j - i)
            count += 1
        i = j
    shared, inner = np.zeros(len(ends), np.int64), np.zeros(len(ends) - 1, np.int64)
    shingles = np.empty(begin[count], np.int32)
    used = 0
    for text in range(len(ends) - 1):
        size = offsets[text + 1] - offsets[text]
        short = ends[text] + size - math.ceil(2 * threshold / (1 + threshold) * size - 1e-6) + 1
        for i in range(ends[text], ends[text + 1]):
            if i < short:
                inner[text] = used + (numbers[i] >= 0)
            if numbers[i] >= 0:
                shingles[used] = numbers[i]
                used += 1
        inner[text] = max(inner[text], shared[text])
        shared[text + 1] = used
    texts = len(offsets) - 1
    return Index(
        shared, inner, shingles, begin[: count + 1].copy(), np.zeros(count, np.int32), np.empty(used, np.int32),
        np.empty(texts, np.int64), np.zeros(texts + 1, np.int64),
    )  # fmt: skip


@njit(nogil=True, cache=True)
def insert(index, text, value, ascending):
    """Let `value` (below the number of texts) be found by the shingles of `text`; fewer do where texts come by size."""
    for i in range(index.offsets[text], index.inner[text] if ascending else index.offsets[text + 1]):
        shingle = index.shingles[i]
        index.postings[index.begin[shingle] + index.filled[shingle]] = value
        index.filled[shingle] += 1


@njit(nogil=True, cache=True)
def clear(index, text):
    """Empty the postings that `text` may have filled."""
    for i in range(index.offsets[text], index.offsets[text + 1]):
        index.filled[index.shingles[i]] = 0


@njit(nogil=True, cache=True)
def probe(index, text, stored):
    """Count of distinct values in `found` that share a rare shingle; -1 where looking at all `stored` is cheaper."""
    work = 0
    for i in range(index.offsets[text], index.offsets[text + 1]):
        work += index.filled[index.shingles[i]]
        if work > stored:
            return -1
    stamp = index.mark[-1] + 1
    index.mark[-1] = stamp
    count = 0
    for i in range(index.offsets[text], index.offsets[text + 1]):
        shingle = index.shingles[i]
        for k in range(index.begin[shingle], index.begin[shingle] + index.filled[shingle]):
            value = index.postings[k]
            if index.mark[value] != stamp:
                index.mark[value] = stamp
                index.found[count] = value
                count += 1
    return count
