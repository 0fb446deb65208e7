"""The compiled functions that Python calls, each over all texts of a batch.

Only these are cached on disk. Numba's cache notices a change of the file a function stands in, not of the files it
calls; therefore each is made inside a function whose variable `sources` (a hash of all compiled files) is part of
the cache's key.
"""

import hashlib
from pathlib import Path

import numpy as np
from numba import njit

from tasks.curation.kernel import layout, native, overlaps, shingles, tokens, vectors, words
from tasks.curation.kernel.native import (
    NFC_BIT,
    WHITE_BIT,
    chain_of_thought,
    code_points,
    digest,
    find_paragraphs,
    fold,
    fold_all,
    repetition,
    slots_for,
)
from tasks.curation.kernel.overlaps import hit_book, overlap
from tasks.curation.kernel.shingles import band_hashes, distinct, minhash, ngrams, sort_hashes
from tasks.curation.kernel.tokens import SLACK, scan
from tasks.curation.kernel.vectors import copy_bytes
from tasks.curation.kernel.words import count_fences, count_words

_FILES = (__file__, *(module.__file__ for module in (layout, native, overlaps, shingles, tokens, vectors, words)))
_HASH = hashlib.blake2b(b"".join(Path(file).read_bytes() for file in _FILES), digest_size=7)
SOURCES = int.from_bytes(_HASH.digest(), "little")
compiled = njit(nogil=True, cache=True)


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
def load_text(data, lo, hi, text):
    """The text into scratch, 128 zeros after it, so that every load of 64 bytes stays inside; its size."""
    copy_bytes(data, lo, text, hi - lo)
    text[hi - lo : hi - lo + 128] = 0
    return hi - lo


@njit(nogil=True)
def token_scratch(size):
    """(text, lists of `scan`, grams, table) for texts of up to `size` bytes; the last list of `scan` is `tags`.

    The system hands the memory out only as it is touched: a third or less of it, in prose.
    """
    places = np.empty((5, size + SLACK), np.int64)  # starts, ends, plain, special, newlines
    lists = (
        np.empty(size + SLACK, np.uint64), places[0], places[1], places[2], places[3], places[4], np.empty(7, np.int64)
    )  # fmt: skip
    grams = np.empty((2, size + 1), np.uint64)
    return np.empty(size + 256, np.uint8), lists, grams, np.empty(slots_for(size), np.uint64)


@njit(nogil=True)
def scan_text(data, lo, hi, characters, text, lists):
    size = load_text(data, lo, hi, text)
    tags = lists[6]
    tags[:] = 0
    tags[2] = -1
    return scan(text, size, characters[0], characters[1], lists)


def _measure(sources):
    @compiled
    def measure_texts(data, offsets, characters, n, permutation, brief, gram_n, index, out, exact, normal, bands):
        """Every measure of each text, into out [texts, WIDTH], exact and normal [texts, 16], bands [texts, bands].

        `brief`: only what duplicates are sought by (`sketch`); a flag and not a second function, which would have to
        be compiled as well.
        """
        if sources == 0:
            return
        pages, classes, needed, spaceless = characters
        substitutes, rows = permutation
        longest = widest(offsets)
        text, lists, grams, table = token_scratch(longest)
        tokens, starts, _, plain, _, newlines, tags = lists
        folded, paragraphs = np.empty(longest + 128, np.uint8), np.empty((longest // 2 + 2, 2), np.int64)
        signature = np.empty(len(substitutes), np.uint32)
        book = hit_book(index)
        for row in range(len(offsets) - 1):
            counts = out[row]
            size = offsets[row + 1] - offsets[row]
            count, plains, lines, chars, seen = scan_text(data, offsets[row], offsets[row + 1], characters, text, lists)
            counts[layout.BYTES], counts[layout.CHARS], counts[layout.TOKENS] = size, chars, count
            counts[layout.NOT_NFC] = (seen & NFC_BIT) != 0
            put_digest(exact[row], text, 0, size)
            wide = (seen & WHITE_BIT) != 0
            folds = fold_all(text, size, pages, classes, folded) if wide else fold(text, size, folded)
            put_digest(normal[row], folded, 0, folds)
            counts[layout.SHINGLES] = distinct(grams[0], ngrams(tokens, count, n, grams[0]), table, grams[1])
            if counts[layout.SHINGLES] > 0:
                minhash(grams[0], counts[layout.SHINGLES], substitutes, signature)
                band_hashes(signature, rows, bands[row])
            if brief:
                continue
            counts[layout.PARAGRAPHS] = find_paragraphs(text, size, pages, classes, newlines, lines, paragraphs)
            repetition(text, chars == size, paragraphs, counts[layout.PARAGRAPHS], table, counts)
            start, end = chain_of_thought(text, size, tags, pages, classes, counts)
            if end < size:
                counts[layout.THOUGHT_CHARS] = code_points(text, start, end)
            count_words(text, start, end, pages, classes, needed, spaceless, counts)
            count_fences(text, start, end, counts)
            if gram_n > 0:
                overlap(text, size, tokens, starts, plain, plains, gram_n, index, book, row + 1, counts)

    return measure_texts


def _shingles(sources):
    @compiled
    def shingle_lists(data, offsets, characters, n, signs):
        """(offsets int64 [texts + 1], distinct n-gram hashes of each text, sorted)."""
        found = np.zeros(len(offsets), np.int64)
        hashes = np.empty((offsets[-1] - offsets[0]) // 4 + 16, np.uint64)
        if sources == 0:
            return found, hashes
        text, lists, grams, table = token_scratch(widest(offsets))
        tokens, _, _, plain, _, _, _ = lists
        for row in range(len(offsets) - 1):
            count, plains, _, _, _ = scan_text(data, offsets[row], offsets[row + 1], characters, text, lists)
            if not signs:
                for k in range(plains):
                    tokens[k] = tokens[plain[k]]
                count = plains
            size, at = distinct(grams[0], ngrams(tokens, count, n, grams[0]), table, grams[1]), found[row]
            if at + size > len(hashes):
                larger = np.empty(2 * (at + size), np.uint64)
                larger[:at] = hashes[:at]
                hashes = larger
            sort_hashes(grams[0][:size], hashes[at : at + size], table)
            found[row + 1] = at + size
        return found, hashes[: found[-1]]  # memory beyond it was never touched

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
        text = np.empty(widest(offsets) + 128, np.uint8)
        for row in range(len(offsets) - 1):
            put_digest(out[row], text, 0, load_text(data, offsets[row], offsets[row + 1], text))

    return digests


measure_texts, shingle_lists = _measure(SOURCES), _shingles(SOURCES)
jaccard_pairs, digests = _jaccard(SOURCES), _digests(SOURCES)
