"""Decontamination against plain SQL, on real problems and on whatever text hypothesis makes."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.curation.contamination_keys import letter_keys, letters
from tasks.curation.contamination_oracle import oracle
from tasks.curation.contamination_overlap import compare
from tasks.curation.contamination_scan import overlaps
from tasks.curation.contamination_sets import TextSet, read_set
from tasks.curation.kernel import Spec, exact_hash, measure

SHARED = Path(os.environ.get("R1_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
real = pytest.mark.skipif(
    not (SHARED / "omni-math-500").is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)"
)
WORDS = [
    "the",
    "The",
    "x",
    "2.5",
    "25",
    "$x^2$",
    "求",
    "证",
    "é",
    "e\u0301",
    "\u00a0",
    "\x00",
    "’",
    "-",
    "3+4",
    "\r\n",
    "🙂",
]
texts = st.lists(
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), max_size=12).map(" ".join), max_size=6
)


def text_set(name, values):
    return TextSet(name, "text", [f"{name}:{i}" for i in range(len(values))], pa.array(values, pa.large_string()))


def agree(a, b, n, max_document_frequency):
    """Pairs, shared counts, coverage and equal texts are the oracle's; and the best item of each row as well."""
    found = compare(a, b, n, max_document_frequency)
    shared, equal = oracle(a.texts, b.texts, n, max_document_frequency)
    by_gram = found.shared > 0
    ours = sorted(zip(found.row[by_gram].tolist(), found.item[by_gram].tolist(), found.shared[by_gram].tolist()))
    assert ours == [row[:3] for row in shared]
    assert sorted(zip(found.row[found.exact].tolist(), found.item[found.exact].tolist())) == equal
    best = {}
    for row, item, hits, coverage in shared:
        best[row] = max(best.get(row, (0, 0, 0)), (coverage, hits, -item))
    scanned = overlaps(a.texts, found.index)
    assert scanned["gram_item"].to_pylist() == [-best[r][2] if r in best else -1 for r in range(len(a.texts))]
    assert scanned["gram_coverage"].to_pylist() == [best.get(r, (0,))[0] for r in range(len(a.texts))]
    measured = measure(a.texts, Spec(), found.index)
    assert all(scanned[name].equals(measured[name]) for name in scanned.schema.names)
    return found


@settings(derandomize=True, deadline=None, max_examples=25)
@given(texts, texts.filter(len), st.integers(1, 4), st.sampled_from([None, 1, 2]))
def test_any_text(a, b, n, max_document_frequency):
    agree(text_set("a", [*a, ""]), text_set("b", b), n, max_document_frequency)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.text(max_size=40))
def test_compiled_keys_are_the_rule_in_python(text):
    key = letter_keys(pa.array([text]))[0].as_py()
    assert key == (exact_hash(pa.array([letters(text)]))[0].as_py() if letters(text) else None)


def test_what_makes_problems_equal():
    same = ["Let $x,$ $y$ be  2.5.", "let $x, y$ be\n2.5", "Let $x, y$ be “2.5”…"]
    assert len(set(letter_keys(pa.array(same)).to_pylist())) == 1
    for one, other in (("3+4", "3-4"), ("2.5", "25"), ("x<1", "x>1"), ("求值", "求证"), ("5!", "5")):
        assert letters(one) != letters(other)
    assert letters("caf\u00e9") == letters("cafe\u0301")
    assert letter_keys(pa.array(["", "?!"[:1], None, " \n…"])).to_pylist() == [None] * 4


@real
def test_real_problems():
    a = read_set(SHARED, "dsr-sub-1209", "prompt")
    b = read_set(SHARED, "omni-math-500", "problem")
    found = agree(a, b, 8, 3)
    assert found.boilerplate > 0 and found.exact.sum() == 13
    agree(
        read_set(SHARED, "alpaca-zh", "instruction,input", limit=1000),
        read_set(SHARED, "mbpp/mbpp.jsonl", "text"),
        8,
        10,
    )


@real
def test_known_overlaps_of_published_sets():
    train = {name: read_set(SHARED, name) for name in ("deepscaler-40k", "aime-1983-2023")}
    exact = {}
    for benchmark in ("omni-math-500", "math500", "aime-qwq"):
        problems = read_set(SHARED, benchmark)
        for name, rows in train.items():
            found = compare(rows, problems)
            exact[benchmark, name] = len(np.unique(found.item[found.exact]))
    assert exact["omni-math-500", "deepscaler-40k"] == 493
    assert (exact["math500", "deepscaler-40k"], exact["math500", "aime-1983-2023"]) == (7, 6)
    assert exact["aime-qwq", "deepscaler-40k"] == exact["aime-qwq", "aime-1983-2023"] == 0
