"""Measures of texts for filters, deduplication and decontamination: one compiled scan over Arrow arrays."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tasks.curation.kernel.arrow import Texts, binary16, flat
from tasks.curation.kernel.characters import SCRIPT_NAMES, class_table, letter_rules, normalised
from tasks.curation.kernel.layout import COUNTS, NOT_NFC, WIDTH, WORDS
from tasks.responses import CHARS_PER_WORD

if TYPE_CHECKING:
    from tasks.curation.kernel.grams import GramIndex

COLUMNED_SCRIPTS = ("Latin", "Han", "Kana", "Hangul", "Cyrillic", "Greek", "Arabic", "Devanagari", "Bengali")
SKETCH = ("chars", "tokens", "shingles", "exact", "normal", "bands")


@dataclass(frozen=True)
class Spec:
    """What the measures are taken with."""

    shingle: int = 5  # n, tokens of an n-gram for near-duplicates
    permutations: int = 128
    bands: int = 16  # bands * rows <= permutations
    rows: int = 8

    def __post_init__(self):
        for name in ("shingle", "permutations", "bands", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"Spec.{name} is {getattr(self, name)}, wanted 1 or more")
        if self.bands * self.rows > self.permutations:
            raise ValueError(
                f"{self.bands} bands of {self.rows} rows need {self.bands * self.rows} permutations, "
                f"Spec.permutations is {self.permutations}: see banding()"
            )


@lru_cache(4)
def _substitutes(bins: int) -> np.ndarray:
    """int32 [bins, bins]: for each bin, all bins in the order in which their values are asked for where it is empty."""
    x = np.arange(bins * bins, dtype=np.uint64)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)  # `mix` of native.py
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return (x ^ x >> np.uint64(31)).reshape(bins, bins).argsort(axis=1, kind="stable").astype(np.int32)


def banding(threshold: float, permutations: int, recall: float = 0.99) -> tuple[int, int]:
    """(bands, rows) with the fewest candidate pairs by which a pair of Jaccard `threshold` is found with `recall`.

    A pair of similarity J shares a band with probability 1 - (1 - J**rows)**bands, which grows with J: every pair at
    or above the threshold is found with at least this probability. ValueError where no banding reaches it.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold {threshold} is no Jaccard similarity: wanted more than 0, at most 1")
    for rows in range(permutations, 0, -1):
        bands = permutations // rows
        if 1 - (1 - threshold**rows) ** bands >= recall:
            return bands, rows
    raise ValueError(f"{permutations} permutations find Jaccard {threshold} with a recall below {recall}: take more")


def measure(texts: pa.Array, spec: Spec = Spec(), grams: "GramIndex | None" = None) -> pa.RecordBatch:
    """One row of measures for each text, in order; a null text gives a row of nulls.

    Columns: see `schema`. Texts: string, large_string or binary (UTF-8), sliced or not; ValueError naming the row of
    a text that is not UTF-8. Byte offsets and code points count the text as it is given.
    """
    batch = flat(texts)
    out, *hashes = _scan(batch, spec, grams, brief=False)
    return _batch(out, batch.null, *hashes, spec, schema(spec, grams is not None))


def sketch(texts: pa.Array, spec: Spec = Spec()) -> pa.RecordBatch:
    """The columns of `measure` by which duplicates are sought (SKETCH), same values, in an eighth less time."""
    batch = flat(texts)
    out, *hashes = _scan(batch, spec, None, brief=True)
    everything = schema(spec)
    return _batch(out, batch.null, *hashes, spec, pa.schema([everything.field(name) for name in SKETCH]))


def _scan(batch: Texts, spec: Spec, grams: "GramIndex | None", brief: bool) -> tuple[np.ndarray, ...]:
    """(integers [texts, WIDTH], exact [texts, 16], normal [texts, 16], bands [texts, bands]) of the compiled scan."""
    from tasks.curation.kernel.fused import measure_texts

    count = len(batch.offsets) - 1
    out = np.zeros((count, WIDTH), np.int64)
    exact, normal = np.empty((count, 16), np.uint8), np.empty((count, 16), np.uint8)
    bands = np.zeros((count, spec.bands), np.uint64)
    n, index = (grams.n, grams.arrays()) if grams is not None else (0, _no_grams())
    permutation = _substitutes(spec.bands * spec.rows), spec.rows
    measure_texts(
        batch.data, batch.offsets, (*class_table(), *letter_rules()), spec.shingle, permutation, brief, n, index, out,
        exact, normal, bands,
    )  # fmt: skip
    _composed(batch, out[:, NOT_NFC] != 0, normal)
    return out, exact, normal, bands


def _no_grams() -> tuple[np.ndarray, ...]:
    """What `GramIndex.arrays` gives of an index without items."""
    empty = np.zeros(1, np.uint64)
    return empty, np.zeros(64, np.uint64), np.zeros((64, 2), np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64)


def _composed(batch: Texts, rows: np.ndarray, normal: np.ndarray) -> None:
    """Puts right the `normal` hash of the texts that NFC may change: few, and unicodedata is Python's."""
    rows = np.flatnonzero(rows)
    if len(rows):
        raw = (batch.data[batch.offsets[row] : batch.offsets[row + 1]].tobytes().decode() for row in rows)
        normal[rows] = _digests(flat(pa.array(map(normalised, raw), pa.large_string())))


def _digests(batch: Texts) -> np.ndarray:
    from tasks.curation.kernel.fused import digests

    out = np.empty((len(batch.offsets) - 1, 16), np.uint8)
    digests(batch.data, batch.offsets, out)
    return out


def schema(spec: Spec = Spec(), grams: bool = False) -> pa.Schema:
    """Columns of `measure`, in order."""
    counts = ("chars", "bytes", "tokens", "shingles")
    layout = ("paragraphs", "longest_paragraph")
    tags = ("code_fences", "think_open", "think_close", "answer_open", "answer_close")
    fields = [(name, pa.int64()) for name in counts]
    fields += [("exact", pa.binary(16)), ("normal", pa.binary(16)), ("bands", pa.list_(pa.uint64(), spec.bands))]
    fields += [("repeated_ngrams", pa.float64())]
    fields += [(name, pa.int64()) for name in layout] + [("repeated_paragraphs", pa.float64())]
    fields += [(name, pa.int64()) for name in tags] + [("well_formed", pa.bool_()), ("thought_chars", pa.int64())]
    fields += [(f"words_{name.lower()}", pa.float64()) for name in (*COLUMNED_SCRIPTS, "Other")]
    if grams:
        fields += [("gram_hits", pa.int32()), ("gram_item", pa.int32()), ("gram_coverage", pa.float64())]
        fields += [("gram_start", pa.int64()), ("gram_end", pa.int64())]
    return pa.schema(fields)


def _words(out: np.ndarray) -> dict[str, np.ndarray]:
    columns = {f"words_{name.lower()}": np.zeros(len(out)) for name in (*COLUMNED_SCRIPTS, "Other")}
    for script, name in enumerate(SCRIPT_NAMES, 1):
        column = name if name in COLUMNED_SCRIPTS else "Other"
        columns[f"words_{column.lower()}"] += out[:, WORDS + script] / CHARS_PER_WORD.get(name, 1)
    return columns


def _batch(out, null, exact, normal, bands, spec: Spec, fields: pa.Schema) -> pa.RecordBatch:
    raw = {name: out[:, place] for place, name in enumerate(COUNTS)}
    absent = np.zeros(len(out), bool) if null is None else null
    positions = raw["tokens"] - spec.shingle + 1
    short = absent | (positions < 1)
    values = {name: (raw[name], absent) for name in fields.names if name in raw}
    if "words_other" in fields.names:
        values |= _shares(raw, positions, absent, short)
        values |= {name: (column, absent) for name, column in _words(out).items()}
    columns = {"exact": binary16(exact, null), "normal": binary16(normal, null)}
    columns["bands"] = pa.FixedSizeListArray.from_arrays(pa.array(bands.reshape(-1)), spec.bands, mask=pa.array(short))
    for field in fields:
        if field.name not in columns:
            value, mask = values[field.name]
            columns[field.name] = pa.array(value.astype(field.type.to_pandas_dtype()), field.type, mask=mask)
    return pa.RecordBatch.from_arrays([columns[name] for name in fields.names], schema=fields)


def _shares(raw: dict, positions, absent, short) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(value, whether it is null) of the columns that are no plain counts."""
    return {
        "repeated_ngrams": (1 - raw["shingles"] / np.maximum(positions, 1), short),
        "repeated_paragraphs": (raw["repeated_chars"] / np.maximum(raw["paragraph_chars"], 1), absent),
        "well_formed": (raw["well_formed"] != 0, absent),
        "thought_chars": (raw["thought_chars"], absent | (raw["thought_chars"] < 0)),
        "gram_coverage": (raw["gram_hits"] / np.maximum(raw["gram_grams"], 1), absent),
    }


def shingle_sets(texts: pa.Array, n: int, signs: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(offsets int64 [texts + 1], hashes uint64): the sorted, distinct n-gram hashes of each text; none for a null.

    With `signs` the tokens of near-duplicates, without them those of decontamination.
    """
    from tasks.curation.kernel.fused import shingle_lists

    batch = flat(texts)
    return shingle_lists(batch.data, batch.offsets, (*class_table(), *letter_rules()), n, signs)


def jaccard(offsets: np.ndarray, hashes: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Exact Jaccard similarity (float64) of the pairs (left[i], right[i]) of `shingle_sets`; 0 for two empty sets."""
    from tasks.curation.kernel.fused import jaccard_pairs

    left, right = np.ascontiguousarray(left, np.int64), np.ascontiguousarray(right, np.int64)
    if len(left) != len(right):
        raise ValueError(f"{len(left)} left and {len(right)} right members of pairs: wanted as many")
    for name, members in (("left", left), ("right", right)):
        if len(members) and (members.min() < 0 or members.max() >= len(offsets) - 1):
            raise ValueError(f"{name} members {members.min()}..{members.max()} of 0..{len(offsets) - 2}")
    out = np.empty(len(left))
    jaccard_pairs(offsets, hashes, left, right, out)
    return out


def exact_hash(texts: pa.Array) -> pa.Array:
    """128-bit hash of the bytes of each text, as fixed_size_binary(16); equal on every machine and version."""
    batch = flat(texts)
    return binary16(_digests(batch), batch.null)


def normal_hash(texts: pa.Array) -> pa.Array:
    """`exact_hash` of the normalised text (`normalised`): of short texts, one by one in Python."""
    batch = flat(texts)
    folded = [normalised(batch.data[a:b].tobytes().decode()) for a, b in zip(batch.offsets, batch.offsets[1:])]
    return binary16(_digests(flat(pa.array(folded, pa.large_string()))), batch.null)
