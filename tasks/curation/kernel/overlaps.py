"""Which n-grams of a text stand in an index of benchmark items; compiled."""

import numpy as np

from tasks.curation.kernel.layout import GRAM_END, GRAM_GRAMS, GRAM_HITS, GRAM_ITEM, GRAM_START
from tasks.curation.kernel.native import ALNUM, KINDS, ONE, TOKEN_STEP, U, compiled, decode, mix, step_power


@compiled
def hit_book(index):
    """Scratch for `overlap`: (last text by slot, hits by item, [start, end, n-gram] of runs by item, items hit)."""
    slots, items = len(index[1]), len(index[4])
    hits, touched = np.zeros(items, np.int64), np.empty(items, np.int64)
    return np.zeros(slots, np.int64), hits, np.empty((items, 3), np.int64), touched


@compiled
def token_end(data, at, hi):
    if KINDS[data[at]] != ALNUM:
        return at + decode(data, at)[1] if data[at] >= 128 else at + 1
    while at < hi and KINDS[data[at]] == ALNUM:
        at += 1
    return at


@compiled
def find(slots, gram):
    """Place of a gram in the index; -1 where it is not there."""
    mask = U(len(slots) - 1)
    at = gram & mask
    while slots[at] != 0:
        if slots[at] == gram:
            return np.int64(at)
        at = (at + ONE) & mask
    return np.int64(-1)


@compiled
def note_hit(place, posting, items, k, span_start, span_end, stamp, seen, hits, spans, touched, found):
    """Book one matching n-gram, the k-th of its text, on each item that holds it; returns the items touched so far."""
    fresh = seen[place] != stamp
    seen[place] = stamp
    for at in range(posting[place, 0], posting[place, 1]):
        item = items[at]
        if hits[item] == 0:
            touched[found] = item
            found += 1
            spans[item, 0], spans[item, 1], spans[item, 2] = span_start, span_end, k
        elif spans[item, 2] == k - 1:  # the first matching run goes on
            spans[item, 1], spans[item, 2] = span_end, k
        hits[item] += fresh
    return found


@compiled
def overlap(data, hi, tokens, starts, plain, count, n, index, book, stamp, out):
    """The item with the highest coverage (ties: most hits, lowest index), its hits, the span of the first run.

    `index`: (bits, slots, posting, items, sizes) of GramIndex; `book`: scratch (seen, hits, spans, touched).
    """
    bits, slots, posting, items, sizes = index
    seen, hits, spans, touched = book
    out[GRAM_ITEM], out[GRAM_START], out[GRAM_END] = -1, -1, -1
    if count < n or len(items) == 0:
        return
    power, rolling, found = step_power(n), U(0), 0
    filter_mask = U(len(bits) * 64 - 1)
    for k in range(count):
        rolling = rolling * TOKEN_STEP + tokens[plain[k]]
        if k >= n:
            rolling -= tokens[plain[k - n]] * power
        if k < n - 1:
            continue
        gram = max(mix(rolling), ONE)
        bit = (gram >> U(32)) & filter_mask
        if (bits[bit >> U(6)] >> (bit & U(63))) & ONE:
            place = find(slots, gram)
            if place >= 0:
                start, end = starts[plain[k - n + 1]], token_end(data, starts[plain[k]], hi)
                found = note_hit(place, posting, items, k, start, end, stamp, seen, hits, spans, touched, found)
    best = -1
    for at in range(found):
        item = touched[at]
        if best < 0:
            best = item
            continue
        gain = np.int64(hits[item]) * sizes[best] - np.int64(hits[best]) * sizes[item]
        if gain > 0 or (gain == 0 and (hits[item] > hits[best] or (hits[item] == hits[best] and item < best))):
            best = item
    if best >= 0:
        out[GRAM_HITS], out[GRAM_ITEM], out[GRAM_GRAMS] = hits[best], best, sizes[best]
        out[GRAM_START], out[GRAM_END] = spans[best, 0], spans[best, 1]
    for at in range(found):
        hits[touched[at]] = 0
