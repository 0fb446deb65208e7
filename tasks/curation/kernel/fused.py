"""The compiled functions that Python calls, each over all texts of a batch.

Only these are cached on disk. Numba's cache notices a change of the file a function stands in, not of the files it
calls; therefore each is made inside a function whose variable `sources` (a hash of all compiled files) is part of
the cache's key.
"""

import hashlib
from pathlib import Path

import numpy as np
from numba import njit

from tasks.curation.kernel import layout, native, overlaps, words
from tasks.curation.kernel.native import band_hashes, digest, minhash, repetition, scan, shingle_set
from tasks.curation.kernel.overlaps import overlap
from tasks.curation.kernel.words import count_fences, count_words

SHINGLES, THOUGHT_CHARS = layout.SHINGLES, layout.THOUGHT_CHARS
_FILES = (__file__, *(module.__file__ for module in (layout, native, words, overlaps)))
_HASH = hashlib.blake2b(b"".join(Path(file).read_bytes() for file in _FILES), digest_size=7)
SOURCES = int.from_bytes(_HASH.digest(), "little")
compiled = njit(nogil=True, cache=True)


@njit(nogil=True)
def code_points(data, lo, hi):
    count = 0
    for at in range(lo, hi):
        count += data[at] & 0xC0 != 0x80
    return count


@njit(nogil=True)
def put_digest(row, data, lo, hi):
    """128 bits, big-endian, into 16 bytes."""
    low, high = digest(data, lo, hi)
    for k in range(8):
        shift = np.uint64(56 - 8 * k)
        row[k] = np.uint8(low >> shift)
        row[8 + k] = np.uint8(high >> shift)


@njit(nogil=True)
def widest(offsets):
    size = 1
    for row in range(len(offsets) - 1):
        size = max(size, offsets[row + 1] - offsets[row])
    return size


@njit(nogil=True)
def scratch_for(size):
    """Memory for one text of up to `size` bytes; the system hands it out only as it is touched."""
    slots = 64
    while slots < 2 * size:
        slots *= 2
    tokens, starts, plain = np.empty(size, np.uint64), np.empty(size, np.int64), np.empty(size, np.int64)
    folded, paragraphs = np.empty(size + 8, np.uint8), np.empty((size // 2 + 2, 3), np.int64)
    return tokens, starts, plain, folded, paragraphs, np.empty(slots, np.uint64), np.empty(size + 1, np.uint64)


def _measure(sources):
    @compiled
    def measure_texts(data, offsets, characters, n, permutations, gram_n, index, out, exact, normal, bands):
        """Every measure of each text, into out [texts, WIDTH], exact and normal [texts, 16], bands [texts, bands]."""
        if sources == 0:
            return
        pages, classes, needed, spaceless = characters
        factors, terms, rows = permutations
        tokens, starts, plain, folded, paragraphs, table, found = scratch_for(widest(offsets))
        signature = np.empty(len(factors), np.uint32)
        slots, sizes = len(index[1]), len(index[4])
        hits, touched = np.zeros(sizes, np.int64), np.empty(sizes, np.int64)
        book = np.zeros(slots, np.int64), hits, np.empty((sizes, 3), np.int64), touched
        for row in range(len(offsets) - 1):
            lo, hi, counts = offsets[row], offsets[row + 1], out[row]
            count, plains, size, start, end = scan(
                data, lo, hi, pages, classes, tokens, starts, plain, folded, paragraphs, counts
            )
            put_digest(exact[row], data, lo, hi)
            put_digest(normal[row], folded, 0, size)
            repetition(folded, paragraphs, counts[layout.PARAGRAPHS], table, counts)
            counts[SHINGLES] = shingle_set(tokens, count, n, table, found)
            if counts[SHINGLES] > 0:
                minhash(found, counts[SHINGLES], factors, terms, signature)
                band_hashes(signature, rows, bands[row])
            count_words(data, start, end, pages, classes, needed, spaceless, counts)
            count_fences(data, start, end, counts)
            if end < hi:
                counts[THOUGHT_CHARS] = code_points(data, start, end)
            if gram_n > 0:
                overlap(data, lo, hi, tokens, starts, plain, plains, gram_n, index, book, row + 1, counts)

    return measure_texts


def _shingles(sources):
    @compiled
    def shingle_lists(data, offsets, characters, n, signs):
        """(offsets int64 [texts + 1], distinct n-gram hashes of each text, sorted)."""
        lists = np.zeros(len(offsets), np.int64)
        hashes = np.empty(max(offsets[-1] - offsets[0], 16) // 4 + 16, np.uint64)
        if sources == 0:
            return lists, hashes
        tokens, starts, plain, folded, paragraphs, table, found = scratch_for(widest(offsets))
        counts = np.zeros(layout.WIDTH, np.int64)
        for row in range(len(offsets) - 1):
            count, plains, _, _, _ = scan(
                data, offsets[row], offsets[row + 1], characters[0], characters[1], tokens, starts, plain, folded,
                paragraphs, counts,
            )  # fmt: skip
            if not signs:
                for k in range(plains):
                    tokens[k] = tokens[plain[k]]
                count = plains
            size, at = shingle_set(tokens, count, n, table, found), lists[row]
            if at + size > len(hashes):
                larger = np.empty(2 * (at + size), np.uint64)
                larger[:at] = hashes[:at]
                hashes = larger
            hashes[at : at + size] = np.sort(found[:size])
            lists[row + 1] = at + size
        return lists, hashes[: lists[-1]].copy()

    return shingle_lists


def _jaccard(sources):
    @compiled
    def jaccard_pairs(offsets, hashes, left, right, out):
        """Exact Jaccard similarity of pairs of sorted sets; 0 where both are empty."""
        if sources == 0:
            return
        for pair in range(len(left)):
            i, i_end = offsets[left[pair]], offsets[left[pair] + 1]
            j, j_end = offsets[right[pair]], offsets[right[pair] + 1]
            total, shared = (i_end - i) + (j_end - j), 0
            while i < i_end and j < j_end:
                a, b = hashes[i], hashes[j]
                shared += a == b
                i += a <= b
                j += b <= a
            out[pair] = shared / (total - shared) if total > shared else 0.0

    return jaccard_pairs


def _digests(sources):
    @compiled
    def digests(data, offsets, out):
        """128-bit hash of the bytes of each text, into out [texts, 16]."""
        if sources == 0:
            return
        for row in range(len(offsets) - 1):
            put_digest(out[row], data, offsets[row], offsets[row + 1])

    return digests


measure_texts, shingle_lists = _measure(SOURCES), _shingles(SOURCES)
jaccard_pairs, digests = _jaccard(SOURCES), _digests(SOURCES)
