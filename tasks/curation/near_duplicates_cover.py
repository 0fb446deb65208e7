"""Which of a group of similar texts stay: exact Jaccard of candidate pairs, components, and a greedy cover.

Everything works on closed groups of rows (near_duplicates_candidates.py), so groups run in any order and in any
thread. A `node` is a distinct text that shares a band with another one; its shingles are the sorted hashes
`hashes[offsets[node] - base : offsets[node + 1] - base]`.

Pairs that cannot change the result are not compared: those already connected, those that met in an earlier band,
those whose sizes alone forbid the threshold, and, in groups of more than SMALL texts, those that share none of their
rarest shingles (near_duplicates_index.py). All four are exact.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from tasks.curation.near_duplicates_candidates import find, unite
from tasks.curation.near_duplicates_index import build, clear, insert, nothing, probe

SMALL = 64  # texts of a group that are compared pair by pair without an index
OFF = 2.0  # a threshold that no similarity reaches


class Rows(NamedTuple):
    """Per row, int32. A group is named by one of its rows; -1: not compared by this rule."""

    prompt: np.ndarray
    exact: np.ndarray  # equal texts, in the scope of the policy
    normal: np.ndarray  # equal normalised texts
    head: np.ndarray  # equal texts among which near duplicates need no count; -1: too short
    node: np.ndarray  # index of the head's shingles; -1: shares no band with another text
    text: np.ndarray  # equal texts anywhere, for embeddings


class Nodes(NamedTuple):
    """Per distinct text with candidates, ordered by group, then by number of shingles."""

    offsets: np.ndarray  # int64[nodes + 1], into the shingles
    bands: np.ndarray  # uint64[nodes, bands]
    prompt_offsets: np.ndarray  # int64[nodes + 1]
    prompts: np.ndarray  # int32, sorted and distinct within a node
    parent: np.ndarray  # int32[nodes], forest of the true near-duplicate components
    kept: np.ndarray  # int32[nodes], the first kept row, -1: none
    first: np.ndarray  # int32[nodes], of a component's root: its first node with a kept row
    last: np.ndarray
    following: np.ndarray  # int32[nodes], the next node with a kept row


class Links(NamedTuple):
    """Texts that another measure calls equal (embeddings), both ways, per row that stands for a text."""

    offsets: np.ndarray  # int64[rows + 1], or empty
    other: np.ndarray  # int32
    similarity: np.ndarray  # float64


class Hits(NamedTuple):
    """Per row: the kept row that makes it superfluous by each rule (int32, -1: none) and the similarity."""

    exact: np.ndarray
    normal: np.ndarray
    within: np.ndarray
    within_jaccard: np.ndarray
    across: np.ndarray
    across_jaccard: np.ndarray
    embedding: np.ndarray
    similarity: np.ndarray


class Kept(NamedTuple):
    """Per group: its first kept row, int32, -1: none yet."""

    exact: np.ndarray
    normal: np.ndarray
    head: np.ndarray
    text: np.ndarray


@njit(nogil=True, cache=True)
def jaccard_at_least(hashes, a, a_end, b, b_end, threshold):
    """Exact Jaccard of two sorted sets, or -1 as soon as it cannot reach the threshold."""
    total = (a_end - a) + (b_end - b)
    if min(a_end - a, b_end - b) < threshold * max(a_end - a, b_end - b) - 1e-6:
        return -1.0
    needed = threshold * total / (1 + threshold) - 1e-6
    common = 0
    while a < a_end and b < b_end:
        if common + min(a_end - a, b_end - b) < needed:
            return -1.0
        for _ in range(min(32, a_end - a, b_end - b)):  # neither side can end within that many steps
            x, y = hashes[a], hashes[b]
            common += x == y
            a += x <= y
            b += y <= x
    similarity = common / (total - common) if total else 1.0
    return similarity if similarity >= threshold else -1.0


@njit(nogil=True, cache=True)
def _compare(nodes, hashes, base, a, b, threshold):
    start, end = nodes.offsets[a] - base, nodes.offsets[a + 1] - base
    return jaccard_at_least(hashes, start, end, nodes.offsets[b] - base, nodes.offsets[b + 1] - base, threshold)


@njit(nogil=True, cache=True)
def _threshold(nodes, a, b, within, across):
    """Lowest threshold that two rows with these texts have to reach, by the prompts in which the texts occur."""
    i, i_end = nodes.prompt_offsets[a], nodes.prompt_offsets[a + 1]
    j, j_end = nodes.prompt_offsets[b], nodes.prompt_offsets[b + 1]
    one_prompt = i_end - i == 1 and j_end - j == 1 and nodes.prompts[i] == nodes.prompts[j]
    lowest = OFF if one_prompt else across
    if lowest <= within:
        return lowest
    while i < i_end and j < j_end:
        if nodes.prompts[i] == nodes.prompts[j]:
            return within
        if nodes.prompts[i] < nodes.prompts[j]:
            i += 1
        else:
            j += 1
    return lowest


@njit(nogil=True, cache=True)
def _share(bands, a, b, upto):
    for k in range(upto):
        if bands[a, k] == bands[b, k]:
            return True
    return False


@njit(nogil=True, cache=True)
def _join(nodes, hashes, base, a, b, within, across):
    """Connect two texts that are near; True where that made one component of two."""
    threshold = _threshold(nodes, a, b, within, across)
    if threshold > 1 or _compare(nodes, hashes, base, a, b, threshold) < 0:
        return False
    return unite(nodes.parent, a, b)


@njit(nogil=True, cache=True)
def _connect_bucket(nodes, hashes, base, start, members, band, index, within, across):
    """Connect the near ones among `members`, which are equal in `band` and ordered by size."""
    pivot = members[0]
    apart = len(members)
    for x in range(1, len(members)):  # one text against all: enough where they are all alike
        if find(nodes.parent, pivot) == find(nodes.parent, members[x]):
            apart -= 1
        elif not _share(nodes.bands, pivot, members[x], band):
            apart -= _join(nodes, hashes, base, pivot, members[x], within, across)
    if apart == 1:
        return
    indexed = len(members) > SMALL
    for x in range(1, len(members)):
        count = probe(index, members[x] - start, x) if indexed else -1
        for c in range(x if count < 0 else count):
            y = c if count < 0 else index.found[c]
            if y == 0 or find(nodes.parent, members[x]) == find(nodes.parent, members[y]):
                continue
            if not _share(nodes.bands, members[x], members[y], band):
                _join(nodes, hashes, base, members[x], members[y], within, across)
        if indexed:
            insert(index, members[x] - start, x, True)
    if indexed:
        for x in range(1, len(members)):
            clear(index, members[x] - start)


@njit(nogil=True, cache=True)
def connect(nodes, hashes, base, start, end, index, within, across):
    """Components of the near pairs among the texts start..end that share a band."""
    if end - start <= SMALL:
        for a in range(start, end):
            for b in range(a + 1, end):
                if find(nodes.parent, a) != find(nodes.parent, b) and _share(nodes.bands, a, b, nodes.bands.shape[1]):
                    _join(nodes, hashes, base, a, b, within, across)
        return
    for band in range(nodes.bands.shape[1]):
        values = nodes.bands[start:end, band].copy()
        order = np.argsort(values, kind="mergesort")
        begin = 0
        for i in range(1, len(order) + 1):
            if i == len(order) or values[order[i]] != values[order[begin]]:
                if i - begin > 1:
                    members = order[begin:i] + start
                    _connect_bucket(nodes, hashes, base, start, members, band, index, within, across)
                begin = i


@njit(nogil=True, cache=True)
def _note(row, other, similarity, rows, hits, within, across):
    """Write down `other` as the reason of its scope if it is the first one and near enough; True where written."""
    if rows.prompt[row] == rows.prompt[other]:
        if similarity >= within and hits.within[row] < 0:
            hits.within[row], hits.within_jaccard[row] = other, similarity
            return True
    elif similarity >= across and hits.across[row] < 0:
        hits.across[row], hits.across_jaccard[row] = other, similarity
        return True
    return False


@njit(nogil=True, cache=True)
def _near(row, node, candidate, rows, nodes, hashes, base, hits, within, across):
    """Compare a row with the kept row of `candidate`, where that can still be a reason."""
    other = nodes.kept[candidate]
    same = rows.prompt[row] == rows.prompt[other]
    threshold = within if same else across
    if threshold > 1 or (hits.within[row] if same else hits.across[row]) >= 0:
        return False
    similarity = 1.0 if candidate == node else _compare(nodes, hashes, base, node, candidate, threshold)
    return _note(row, other, similarity, rows, hits, within, across)


@njit(nogil=True, cache=True)
def _near_kept(row, node, start, rows, nodes, hashes, base, index, places, hits, within, across):
    """The first kept row of the component, in the order of preference, that is near `row`: one in either scope."""
    root = find(nodes.parent, node)
    hit = False
    count = probe(index, node - start, places[0]) if len(index.found) else -1
    if count < 0:
        candidate = nodes.first[root]
        while candidate >= 0:
            hit |= _near(row, node, candidate, rows, nodes, hashes, base, hits, within, across)
            candidate = nodes.following[candidate]
        return hit
    stamp = index.mark[-1]
    if nodes.kept[node] >= 0:  # shingles that no other text has are not in the index
        index.mark[places[1 + node - start]] = stamp
    for place in range(places[0]):
        candidate = places[len(places) // 2 + 1 + place]
        if index.mark[place] == stamp and find(nodes.parent, candidate) == root:
            hit |= _near(row, node, candidate, rows, nodes, hashes, base, hits, within, across)
    return hit


@njit(nogil=True, cache=True)
def _linked(row, rows, links, kept, rank, hits):
    """The first kept row that the links of `row` name, or that has its very text."""
    best, similarity = kept.text[rows.text[row]], 1.0
    for i in range(links.offsets[rows.text[row]], links.offsets[rows.text[row] + 1]):
        other = kept.text[links.other[i]]
        if other >= 0 and (best < 0 or rank[other] < rank[best]):
            best, similarity = other, links.similarity[i]
    if best >= 0:
        hits.embedding[row], hits.similarity[row] = best, similarity
    return best >= 0


@njit(nogil=True, cache=True)
def _keep(row, start, rows, nodes, index, places, kept):
    """Let later rows of its groups find this kept row."""
    for group, first in (
        (rows.exact, kept.exact),
        (rows.normal, kept.normal),
        (rows.head, kept.head),
        (rows.text, kept.text),
    ):
        if len(group) and group[row] >= 0 and first[group[row]] < 0:
            first[group[row]] = row
    node = rows.node[row]
    if node < 0 or nodes.kept[node] >= 0:
        return
    nodes.kept[node] = row
    root = find(nodes.parent, node)
    if nodes.first[root] < 0:
        nodes.first[root] = node
    else:
        nodes.following[nodes.last[root]] = node
    nodes.last[root] = node
    if len(index.found):
        place = places[0]
        insert(index, node - start, place, False)
        places[1 + node - start] = place
        places[len(places) // 2 + 1 + place] = node
        places[0] += 1


@njit(nogil=True, cache=True)
def cover(members, start, rows, nodes, hashes, base, index, links, rank, kept, hits, within, across):
    """Take the rows `members` in order; a row stays unless a kept one makes it superfluous by any rule."""
    size = len(index.found)
    places = np.zeros(2 * size + 2, np.int64)  # number of kept nodes, place of a node, node of a place
    for row in members:
        hit = False
        if len(rows.exact):
            hits.exact[row] = kept.exact[rows.exact[row]]
            hits.normal[row] = kept.normal[rows.normal[row]]
            hit = hits.exact[row] >= 0 or hits.normal[row] >= 0
        if rows.node[row] >= 0:
            hit |= _near_kept(
                row, rows.node[row], start, rows, nodes, hashes, base, index, places, hits, within, across
            )
        elif rows.head[row] >= 0 and kept.head[rows.head[row]] >= 0:
            hit |= _note(row, kept.head[rows.head[row]], 1.0, rows, hits, within, across)
        if len(links.offsets):
            hit |= _linked(row, rows, links, kept, rank, hits)
        if not hit:
            _keep(row, start, rows, nodes, index, places, kept)


@njit(nogil=True, cache=True)
def cover_groups(
    groups, group_rows, group_nodes, members, rows, nodes, hashes, base, links, rank, kept, hits, within, across
):
    """Connect and cover the groups `groups[0] .. groups[1]`; their shingles begin at `base`."""
    for g in range(groups[0], groups[1]):
        start, end = group_nodes[g], group_nodes[g + 1]
        if end - start > SMALL:
            index = build(nodes.offsets[start : end + 1] - base, hashes, min(within, across))
        else:
            index = nothing()
        connect(nodes, hashes, base, start, end, index, within, across)
        cover(
            members[group_rows[g] : group_rows[g + 1]], start,
            rows, nodes, hashes, base, index, links, rank, kept, hits, within, across,
        )  # fmt: skip
