"""The index of benchmark n-grams: evidence, filter, files."""

import numpy as np
import pyarrow as pa

from tasks.curation.kernel import GramIndex, Spec, measure

ITEMS = pa.array(
    [
        "How many positive integers below one hundred are divisible by seven or by eleven?",
        "Compute the sum of all primes p such that p plus two is a prime below fifty.",
        "What is 2+2?",
        "How many positive integers below one hundred are perfect squares?",
    ]
)


def hits(texts: list[str], grams: GramIndex) -> list[dict]:
    columns = ["gram_hits", "gram_item", "gram_coverage", "gram_start", "gram_end"]
    return measure(pa.array(texts), Spec(), grams).select(columns).to_pylist()


def test_evidence_is_the_item_its_coverage_and_the_first_span():
    grams = GramIndex.build(4, ITEMS)
    quoted = "é! We are asked: how MANY positive, integers below one-hundred are DIVISIBLE by 3. All primes p such that"
    covered, none = hits([quoted, "nothing of the kind"], grams)
    span = quoted.encode()[covered["gram_start"] : covered["gram_end"]].decode()
    assert span == "how MANY positive, integers below one-hundred are"
    assert (covered["gram_item"], covered["gram_hits"], covered["gram_coverage"]) == (3, 5, 5 / 7)  # not 7 of 11
    assert none == {"gram_hits": 0, "gram_item": -1, "gram_coverage": 0, "gram_start": -1, "gram_end": -1}


def test_ties_go_to_the_most_hits_then_the_first_item():
    grams = GramIndex.build(2, pa.array(["x y z", "a b c", "a b c", "a b c d"]))
    assert [row["gram_item"] for row in hits(["a b c", "a b c d", "x y z a b c d", "b c"], grams)] == [1, 3, 3, 1]


def test_frequent_ngrams_prove_nothing():
    grams = GramIndex.build(4, ITEMS, max_document_frequency=1)
    found = hits(["how many positive integers below one hundred are", "one hundred are perfect squares"], grams)
    assert [(row["gram_hits"], row["gram_item"]) for row in found] == [(0, -1), (2, 3)]
    assert grams.sizes.tolist() == [6, 14, 1, 2]


def test_an_index_of_nothing_finds_nothing():
    for items in (pa.array([], pa.string()), pa.array(["too short", None])):
        grams = GramIndex.build(8, items)
        assert hits(["too short and then some more words follow here"], grams) == [
            {"gram_hits": 0, "gram_item": -1, "gram_coverage": 0, "gram_start": -1, "gram_end": -1}
        ]


def test_many_ngrams_are_all_found():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 10**9, (200, 300)).astype(str)
    items = pa.array([" ".join(row) for row in words])
    grams = GramIndex.build(5, items)
    found = measure(items, Spec(), grams)
    assert found["gram_item"].to_pylist() == list(range(200)) and set(found["gram_coverage"].to_pylist()) == {1.0}
