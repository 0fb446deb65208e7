"""The bounds of the comparison are exact: nothing that reaches the threshold is left out."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.curation.near_duplicates_candidates import find, join_buckets, unite_pairs
from tasks.curation.near_duplicates_cover import jaccard_at_least
from tasks.curation.near_duplicates_index import build, clear, insert, probe

SETS = st.lists(st.sets(st.integers(0, 40), min_size=1), min_size=2, max_size=12)
THRESHOLDS = st.sampled_from((0.1, 0.5, 0.8, 0.9, 1.0)) | st.floats(0.05, 1)


def packed(sets) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *map(len, sets)])
    scattered = [sorted(x * 0x9E3779B97F4A7C15 % 2**64 for x in s) for s in sets]
    return offsets.astype(np.int64), np.array([x for s in scattered for x in s], np.uint64)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(SETS, THRESHOLDS)
def test_jaccard_is_exact_or_known_to_be_lower(sets, threshold):
    offsets, hashes = packed(sets)
    a, b = sets[:2]
    exact = len(a & b) / len(a | b)
    found = jaccard_at_least(hashes, offsets[0], offsets[1], offsets[1], offsets[2], threshold)
    assert found == (exact if exact >= threshold else -1)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(SETS, THRESHOLDS, st.booleans())
def test_the_index_finds_every_near_pair(sets, threshold, ascending):
    sets = sorted(sets, key=len) if ascending else sets
    index = build(*packed(sets), threshold)
    for text in range(len(sets)):
        count = probe(index, text, 10**9)
        near = set(index.found[:count].tolist())
        assert len(near) == count
        for other in range(text):
            if len(sets[text] & sets[other]) / len(sets[text] | sets[other]) >= threshold:
                assert other in near
        insert(index, text, text, ascending)
    for text in range(len(sets)):
        clear(index, text)
    assert all(probe(index, text, 10**9) == 0 for text in range(len(sets)))


def test_dissimilar_texts_around_one_template_are_no_candidates():
    sets = [set(range(600)) | set(range(1000 * i, 1000 * i + 80)) for i in range(1, 400)]  # Jaccard .79
    index = build(*packed(sets), 0.8)
    for text in range(len(sets)):
        assert probe(index, text, 10**9) == 0
        insert(index, text, text, True)


def test_an_unselective_index_gives_way_to_all_pairs():
    index = build(*packed([set(range(100))] * 90), 0.8)
    for text in range(90):
        if text > 1:
            assert probe(index, text, text) == -1
        insert(index, text, text, True)


@pytest.mark.parametrize("salted", [False, True])
def test_rows_that_share_a_band_are_joined(salted):
    from concurrent.futures import ThreadPoolExecutor

    rng, texts = random.Random(1), 400
    bands = np.array([[rng.randrange(3000) for _ in range(texts)] for _ in range(3)], np.uint64)
    heads = np.array(sorted(rng.sample(range(1000), texts)), np.int32)
    salt = np.array([rng.randrange(3) for _ in range(texts)], np.int32) if salted else np.empty(0, np.int32)
    pairs = [
        (i, j)
        for i in range(texts)
        for j in range(i)
        if (bands[:, i] == bands[:, j]).any() and (not salted or salt[i] == salt[j])
    ]
    parent, expected = np.arange(1000, dtype=np.int32), np.arange(1000, dtype=np.int32)
    with ThreadPoolExecutor(2) as pool:
        touched = join_buckets(bands, heads, salt, parent, pool)
    assert set(np.flatnonzero(touched)) == {i for pair in pairs for i in pair} and len(pairs) > 20
    for i, j in pairs:
        unite_pairs(expected, heads[[i]], heads[[j]])
    assert [find(parent, i) for i in range(1000)] == [find(expected, i) for i in range(1000)]
