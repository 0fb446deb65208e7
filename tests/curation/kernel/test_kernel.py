"""The kernel's parts against Python, theory and hostile input."""

import hashlib
import random
import subprocess
import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.curation.kernel import (
    GramIndex,
    Spec,
    banding,
    exact_hash,
    jaccard,
    measure,
    normal_hash,
    normalised,
    shingle_sets,
    sketch,
    token_spans,
)
from tasks.responses import parse, script_words
from tests.curation.kernel.test_kernel_oracle import HARD, shared_texts, star1, tora

TEXTS = [text for text in HARD if text is not None]
TAGGED = st.lists(
    st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "x", " ", "\n", "\u3000", "<", "\x1c"]), max_size=9
).map("".join)
quickly = settings(max_examples=60, derandomize=True, deadline=None)


def sets_of(texts: list[str], n: int, signs: bool = True) -> list[list[int]]:
    offsets, hashes = shingle_sets(pa.array(texts, pa.string()), n, signs)
    return [hashes[a:b].tolist() for a, b in zip(offsets, offsets[1:])]


def test_importing_the_kernel_does_not_compile():
    code = "import sys, tasks.curation.kernel; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@quickly
@given(st.lists(TAGGED, min_size=1, max_size=20))
def test_form_and_thought_are_those_of_parse(texts):
    batch = measure(pa.array(texts))
    parsed = [parse(text) for text in texts]
    assert batch["well_formed"].to_pylist() == [response.well_formed for response in parsed]
    thoughts = [None if response.think is None else len(response.think) for response in parsed]
    assert batch["thought_chars"].to_pylist() == thoughts


@quickly
@given(st.lists(st.text(max_size=200), min_size=1, max_size=10))
def test_normal_is_the_hash_of_the_normalised_text(texts):
    array = pa.array(texts, pa.string())
    wanted = exact_hash(pa.array(list(map(normalised, texts)), pa.string())).to_pylist()
    assert measure(array)["normal"].to_pylist() == wanted == normal_hash(array).to_pylist()


def test_composed_and_decomposed_twins_are_equal():
    words = ["Ünïcödé", "한국어", "Å ñ", "a\u0323\u0307", "क\u093c", "\u212b \u2126 \u212a"]
    twins = pa.array([unicodedata.normalize(form, word) for word in words for form in ("NFC", "NFD")])
    hashes = measure(twins)["normal"].to_pylist()
    assert hashes[0::2] == hashes[1::2] and len(set(hashes)) == len(words)


@pytest.mark.parametrize("signs", [True, False])
def test_token_spans_are_the_tokens_of_the_kernel(signs):
    rng = random.Random(5)
    texts = TEXTS + ["".join(rng.choices("aB9 +-<_.é中\u0301\u3000\n", k=300)) for _ in range(50)]
    texts += ["".join("x" * rng.randrange(80) + rng.choice(" +é\u0301") for _ in range(9)) for _ in range(50)]
    spans = [token_spans(text, signs) for text in texts]
    joined = [" ".join(text[a:b] for a, b in found) for text, found in zip(texts, spans)]
    assert sets_of(texts, 3, signs) == sets_of(joined, 3, signs)
    if signs:
        assert measure(pa.array(texts))["tokens"].to_pylist() == list(map(len, spans))


def test_jaccard_is_that_of_python_sets():
    rng = random.Random(1)
    sets = [[*map(str, rng.sample(range(30), rng.randrange(0, 25)))] for _ in range(40)]
    offsets, hashes = shingle_sets(pa.array(map(" ".join, sets)), 1)
    left, right = np.divmod(np.arange(1600), 40)
    wanted = [len({*sets[a]} & {*sets[b]}) / max(len({*sets[a]} | {*sets[b]}), 1) for a, b in zip(left, right)]
    assert jaccard(offsets, hashes, left, right).tolist() == wanted
    with pytest.raises(ValueError, match=r"right members 40..40 of 0..39"):
        jaccard(offsets, hashes, [0], [40])


def pairs(jaccards: list[float], size: int = 200) -> pa.Array:
    """Texts 2i and 2i + 1 are sets of tokens of a known similarity."""
    rng, texts = random.Random(7), []
    for similarity in jaccards:
        shared = round(2 * size * similarity / (1 + similarity))
        tokens = [f"{rng.getrandbits(60):x}" for _ in range(2 * size - shared)]
        texts += [" ".join(tokens[:size]), " ".join(tokens[size - shared :])]
    return pa.array(texts)


def test_minhash_values_agree_as_often_as_theory_says():
    """128 values as 128 bands of one: the share that agrees has mean J and the variance of independent draws.

    Of few n-grams as well, where most bins are empty; the variance is less where there are about as many as bins.
    """
    cases = ((0.2, 2_000, 0.85), (0.5, 2_000, 0.85), (0.8, 2_000, 0.85), (0.5, 200, 0.7), (0.5, 30, 0.85))
    for similarity, size, least in cases:
        texts = pairs([similarity] * 400, size)
        offsets, hashes = shingle_sets(texts, 1)
        exact = jaccard(offsets, hashes, np.arange(0, 800, 2), np.arange(1, 800, 2))[0]
        bands = measure(texts, Spec(shingle=1, bands=128, rows=1))["bands"].values.to_numpy().reshape(-1, 2, 128)
        agreed = (bands[:, 0] == bands[:, 1]).mean(axis=1)
        spread = (exact * (1 - exact) / 128) ** 0.5
        assert abs(agreed.mean() - exact) < 4 * spread / 400**0.5
        assert least < agreed.std() / spread < 1.15


@pytest.mark.parametrize("similarity", [0.4, 0.6, 0.7, 0.8, 0.9])
def test_bands_collide_as_often_as_theory_says(similarity):
    texts = pairs([similarity] * 500, 100)
    offsets, hashes = shingle_sets(texts, 1)
    exact = jaccard(offsets, hashes, [0], [1])[0]
    bands = measure(texts, Spec(shingle=1))["bands"].values.to_numpy().reshape(-1, 2, 16)
    found = (bands[:, 0] == bands[:, 1]).any(axis=1).mean()
    wanted = 1 - (1 - exact**8) ** 16
    assert abs(found - wanted) <= 4 * (wanted * (1 - wanted) / 500) ** 0.5


def test_banding_finds_pairs_at_the_threshold():
    for threshold in (0.3, 0.5, 0.7, 0.8, 0.9, 1.0):
        bands, rows = banding(threshold, 128)
        assert bands * rows <= 128 and 1 - (1 - threshold**rows) ** bands >= 0.99
        fewer = 128 // (rows + 1)
        assert not fewer or 1 - (1 - threshold ** (rows + 1)) ** fewer < 0.99
    with pytest.raises(ValueError, match="take more"):
        banding(0.01, 16)
    with pytest.raises(ValueError, match="need 160 permutations"):
        Spec(bands=20, rows=8)


def test_hashes_do_not_change_between_versions():
    """Ids, indexes and decisions on disk rest on these: a change needs a new index of every benchmark."""
    from tasks.curation.kernel.characters import class_table

    pages, classes = class_table()
    table = hashlib.blake2b(pages.astype("<i4").tobytes() + classes.tobytes(), digest_size=8).hexdigest()
    assert (unicodedata.unidata_version, table) == ("14.0.0", "c8b3da71f7d9ba88")
    batch = measure(pa.array(["Let x = 3, so 2*x + 1 = 7 ≠ 8. 中文"]))
    assert batch["exact"].to_pylist()[0].hex() == "13fc02465720ef4af93cf71f19ce3e8d"
    assert batch["bands"].to_pylist()[0][:2] == [4187272105017742127, 2500998303133498005]


def test_every_kind_of_string_array_gives_the_same():
    wanted = measure(pa.array(TEXTS, pa.string()))
    for kind in (pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view()):
        assert measure(pa.array(TEXTS, pa.string()).cast(kind)).equals(wanted), kind
    assert measure(pa.array(["ü", *TEXTS, "y"])[1:-1]).equals(wanted)
    assert measure(pa.chunked_array([TEXTS[:3], [], TEXTS[3:]], pa.string())).equals(wanted)
    assert measure(pa.array(TEXTS).dictionary_encode()).equals(wanted)
    singly = [measure(pa.array([text])) for text in TEXTS]
    assert pa.Table.from_batches(singly).combine_chunks().equals(pa.table(wanted))
    with pytest.raises(ValueError, match="texts are int64"):
        measure(pa.array([1]))


@pytest.mark.parametrize("spec", [Spec(), Spec(shingle=2, permutations=40, bands=5, rows=7)])
def test_a_sketch_has_the_values_of_measure(spec):
    texts = pa.array(HARD)
    brief, everything = sketch(texts, spec), measure(texts, spec)
    assert brief.equals(everything.select(["chars", "tokens", "shingles", "exact", "normal", "bands"]))
    assert sketch(texts[:0], spec).num_rows == 0


@pytest.mark.parametrize("size", [5, 6, 68, 69, 200, 5_000])
def test_shingle_sets_are_sorted_and_distinct(size):
    rng = random.Random(size)
    texts = [" ".join(rng.choices("abcdefgh", k=size)) for _ in range(4)] + [" ".join(map(str, range(size)))]
    texts[3] = f"{texts[4]} {texts[4][: size // 2]} a a a a a a {texts[4][: size // 2]}"  # a few n-grams repeat
    offsets, hashes = shingle_sets(pa.array(texts), 5)
    wanted = [len({tuple(words[k : k + 5]) for k in range(len(words) - 4)}) for words in map(str.split, texts)]
    assert np.diff(offsets).tolist() == wanted
    for a, b in zip(offsets, offsets[1:]):
        assert (hashes[a + 1 : b] > hashes[a : b - 1]).all()


def test_every_input_is_served_by_one_compilation():
    """A second one costs half a minute in each process that has no cache."""
    from tasks.curation.kernel.fused import measure_texts

    grams = GramIndex.build(2, pa.array(TEXTS))
    foreign = pa.StringArray.from_buffers(1, pa.array([0, 3], pa.int32()).buffers()[1], pa.py_buffer(bytearray(b"abc")))
    for texts in (pa.array(TEXTS), pa.array([], pa.string()), pa.array([""]), pa.nulls(2), foreign):
        measure(texts)
        measure(texts, Spec(), grams)
        sketch(texts)
    assert len(measure_texts.signatures) == 1


def test_empty_and_null_arrays():
    for empty in (pa.array([], pa.string()), pa.array([], pa.null()), pa.chunked_array([], pa.string())):
        assert measure(empty).num_rows == 0
        assert len(exact_hash(empty)) == len(normal_hash(empty)) == len(shingle_sets(empty, 5)[1]) == 0
    for nulls in (pa.nulls(3), pa.nulls(3, pa.string())):
        batch = measure(nulls)
        assert all(batch[name].null_count == 3 for name in batch.schema.names)
        assert exact_hash(nulls).null_count == normal_hash(nulls).null_count == 3
    validity, offsets = pa.array([True, False, True]).buffers()[1], pa.array([0, 2, 5, 6], pa.int32()).buffers()[1]
    over_bytes = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"ab\xff\xff\xffc"), validity)
    assert exact_hash(over_bytes).equals(exact_hash(pa.array(["ab", None, "c"])))
    assert measure(over_bytes).equals(measure(pa.array(["ab", None, "c"])))


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_invalid_utf8_names_the_row(kind):
    with pytest.raises(ValueError, match="row 2: text is not UTF-8 at byte 3"):
        measure(pa.array([b"fine", None, b"abc\xc3", b"\xff"], kind))
    with pytest.raises(ValueError, match="row 1: text is not UTF-8 at byte 0"):
        exact_hash(pa.array([b"left out", b"fine", b"\xed\xa0\x80"], kind)[1:])


def test_fifty_megabytes():
    text = "Wait, let me check that once more: 3 + 4 = 7. " * 1_100_000
    row = measure(pa.array([text, "after"]), Spec(bands=2)).to_pylist()[0]
    assert row["chars"] == row["bytes"] == len(text) > 50_000_000
    assert (row["tokens"], row["shingles"], row["words_latin"]) == (12 * 1_100_000, 12, 7 * 1_100_000)


def test_words_are_those_of_script_words_but_for_single_letters_and_environments():
    """The kernel counts no single Latin or Greek letter and no superscript; it takes maths of any length as maths."""
    texts = shared_texts("star1-r1-safety", star1)[:200] + shared_texts("tora-outputs", tora)[:200]
    texts = [parse(text).think or text for text in texts]
    batch = measure(pa.array(texts))
    close = 0
    for text, latin, han in zip(texts, batch["words_latin"].to_pylist(), batch["words_han"].to_pylist()):
        longer = (word for word in text.split(" ") if word.strip(",.?!:;()") not in {"a", "I", "A"})
        counts = script_words(" ".join(longer))
        close += abs(latin - counts.get("Latin", 0)) <= max(2, 0.03 * latin)
        assert han == counts.get("Han", 0)
    assert close >= 0.97 * len(texts)
