"""N-grams of tokens as sets, their MinHash values and bands; compiled.

MinHash by one permutation (Li, Owen and Zhang 2012): it deals the n-grams out to as many bins as values are wanted and
the least of each bin counts. A bin without n-grams takes the value of one that has some, chosen at random for every
bin but alike for all texts (densification: Shrivastava 2017). Two texts agree in each value with the probability of
their Jaccard similarity, as with independent permutations, for one look at each n-gram instead of 128.
"""

import numpy as np

from tasks.curation.kernel.native import ONE, S32, TOKEN_STEP, U, compiled, insert, mix, slots_for

EMPTY = np.uint32(0xFFFFFFFF)  # a bin without n-grams; values are below 2**31
S6, S58 = U(6), U(58)


@compiled
def ngrams(tokens, count, n, grams):
    """Hashes of all n-grams of the tokens, never 0, into `grams`; how many. Horner's rule, a vector at a time."""
    size = max(count - n + 1, 0)
    into = grams[:size]
    into[:] = tokens[:size]
    for place in range(1, n if size else 1):
        following = tokens[place : place + size]
        for k in range(size):
            into[k] = into[k] * TOKEN_STEP + following[k]
    for k in range(size):
        into[k] = max(mix(into[k]), ONE)
    return size


@compiled
def mark(bits, grams, size, doubtful):
    """Sets a bit for each n-gram; lists those whose bit was set already, and returns how many."""
    count, mask = 0, U(64 * len(bits) - 1)
    for k in range(size):
        place = grams[k] & mask
        word, bit = bits[place >> S6], ONE << (place & U(63))
        bits[place >> S6] = word | bit
        doubtful[count] = grams[k]
        count += (word & bit) != 0
    return count


@compiled
def set_of(grams, size, table):
    """Leaves the distinct ones of grams[:size] at its start, in order; how many. `table` is scratch."""
    slots, kept = table[: slots_for(size)], 0
    slots[:] = 0
    for k in range(size):
        grams[kept] = grams[k]
        kept += insert(slots, grams[kept])
    return kept


@compiled
def distinct(grams, size, table, doubtful):
    """`set_of` in any order, quicker where few n-grams repeat: only those that share a bit are compared.

    `table` and `doubtful` are scratch, slots_for(size) and size + 1 long.
    """
    words = 64
    while 2 * words < size:
        words *= 2
    bits = table[:words]
    bits[:] = 0
    doubts = mark(bits, grams, size, doubtful)
    if doubts == 0:
        return size
    if 4 * doubts > size:
        return set_of(grams, size, table)
    bits[:] = 0
    mark(bits, doubtful, doubts, doubtful)
    kept, several, mask = 0, 0, U(64 * words - 1)
    for k in range(size):
        gram = grams[k]
        place = gram & mask
        shared = np.int64((bits[place >> S6] >> (place & U(63))) & ONE)
        grams[kept] = gram
        doubtful[several] = gram
        kept += 1 - shared
        several += shared
    several = set_of(doubtful, several, table)
    grams[kept : kept + several] = doubtful[:several]
    return kept + several


@compiled
def minhash(grams, size, substitutes, signature):
    """signature[bin] = least of the lower halves of the bin's n-grams; substitutes[bin] lists the others in its order."""
    signature[:] = EMPTY
    bins = U(len(signature))
    for k in range(size):
        place = ((grams[k] >> S32) * bins) >> S32
        signature[place] = min(signature[place], np.uint32(grams[k]) >> np.uint32(1))
    empty = 0
    for place in range(len(signature)):
        empty += signature[place] == EMPTY
    if empty == 0:
        return
    own = signature.copy()
    for place in range(len(signature)):
        k = 0
        while signature[place] == EMPTY:
            signature[place] = own[substitutes[place, k]]
            k += 1


@compiled
def band_hashes(signature, rows, bands):
    """bands[j]: hash of j and of rows j*rows.. of the signature; texts that share one are candidate pairs."""
    for j in range(len(bands)):
        h = U(j + 1)
        for k in range(j * rows, (j + 1) * rows):
            h = h * TOKEN_STEP + U(signature[k])
        bands[j] = mix(h)


@compiled
def sort_hashes(hashes, into, ends):
    """Distinct, even hashes in order: dealt out by their upper bits, about one to a place, then neighbours settled.

    `ends` is scratch for twice as many numbers as there are hashes, and for 64 at least.
    """
    places, shift = 64, S58
    while places < len(hashes):
        places *= 2
        shift -= ONE
    ends[:places] = 0
    for gram in hashes:
        ends[gram >> shift] += ONE
    for k in range(1, places):
        ends[k] += ends[k - 1]
    for gram in hashes:
        ends[gram >> shift] -= ONE
        into[ends[gram >> shift]] = gram
    for k in range(1, len(into)):
        gram, at = into[k], k
        while at > 0 and into[at - 1] > gram:
            into[at] = into[at - 1]
            at -= 1
        into[at] = gram
