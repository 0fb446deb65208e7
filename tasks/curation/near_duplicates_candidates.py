"""Which rows may be near duplicates of each other: locality-sensitive hashing, one band at a time.

Two texts are a candidate pair where they share a MinHash band (Broder 1997; bands: Indyk and Motwani 1998). Pairs are
never listed: each bucket only joins its members in a union-find forest. A component of that forest is a closed
world: no pair outside it can be near, so each is checked by itself (near_duplicates_cover.py).
"""

from concurrent.futures import Executor

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def find(parent, i):
    """Root of `i`, halving the path on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(nogil=True, cache=True)
def unite(parent, i, j):
    """Join two trees; the smallest member is the root, so that no order of calls shows. True where they were two."""
    i, j = find(parent, i), find(parent, j)
    if i == j:
        return False
    parent[max(i, j)] = min(i, j)
    return True


@njit(nogil=True, cache=True)
def unite_groups(parent, group):
    """Join every row with the row that stands for its group (a negative one: no group)."""
    for row in range(len(group)):
        if group[row] >= 0:
            unite(parent, row, group[row])


@njit(nogil=True, cache=True)
def unite_pairs(parent, left, right):
    """Join the rows of every pair."""
    for i in range(len(left)):
        unite(parent, left[i], right[i])


@njit(nogil=True, cache=True)
def forest(parent, left, right):
    """Join the rows of every pair; which of the pairs joined two trees, bool[pairs]: those alone join the same rows."""
    new = np.zeros(len(left), np.bool_)
    for i in range(len(left)):
        new[i] = unite(parent, left[i], right[i])
    return new


@njit(nogil=True, cache=True)
def flatten(parent):
    """Root of every row."""
    roots = np.empty_like(parent)
    for row in range(len(parent)):
        roots[row] = find(parent, row)
    return roots


@njit(nogil=True, cache=True)
def _keyed(values, salt):
    """Positions and keys of the values that may occur twice: a table of counts drops most of the others unsorted."""
    shift = 64
    size = 1
    while size < 4 * len(values):
        size *= 2
        shift -= 1
    shift = min(shift, 63)
    seen = np.zeros(max(size, 2), np.uint8)
    keys = np.empty(len(values), np.uint64)
    for i in range(len(values)):
        key = values[i]
        if len(salt):
            key = (key ^ (np.uint64(salt[i]) * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xD6E8FEB86659FD93)
            key ^= key >> np.uint64(32)
        keys[i] = key
        slot = (key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(shift)
        seen[slot] = min(seen[slot] + 1, 2)
    count = 0
    places = np.empty(len(values), np.int32)
    for i in range(len(values)):
        if seen[(keys[i] * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(shift)] == 2:
            places[count] = i
            keys[count] = keys[i]
            count += 1
    return places[:count].copy(), keys[:count].copy()


@njit(nogil=True, cache=True)
def _join_runs(places, keys, order, heads, parent, touched):
    """Join the rows of each bucket and mark those that have company in it."""
    for i in range(1, len(order)):
        a, b = order[i - 1], order[i]
        if keys[a] == keys[b]:
            touched[places[a]] = True
            touched[places[b]] = True
            unite(parent, heads[places[a]], heads[places[b]])


def join_buckets(
    bands: np.ndarray, heads: np.ndarray, salt: np.ndarray, parent: np.ndarray, pool: Executor
) -> np.ndarray:
    """Join in `parent` (int32, one per row) all rows that share a bucket; which of them do, bool[texts].

    `bands` is uint64[bands, texts], `heads` the row of each text. With `salt` (int32[texts], e.g. the
    prompt) only texts of equal salt meet; an empty one lets all of them meet.
    """

    def sorted_band(values):
        places, keys = _keyed(values, salt)
        return places, keys, np.argsort(keys)

    touched = np.zeros(len(heads), bool)
    for places, keys, order in pool.map(sorted_band, bands):
        _join_runs(places, keys, order, heads, parent, touched)
    return touched
