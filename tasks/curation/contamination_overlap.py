"""Every overlap between two sets of texts: equal texts, and texts with an n-gram in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.curation.contamination_index import all_overlaps, build_index, equal_pairs, gram_sets
from tasks.curation.contamination_keys import letter_keys
from tasks.curation.contamination_scan import overlaps
from tasks.curation.contamination_sets import TextSet
from tasks.curation.contamination_spans import Gram, shared_spans
from tasks.curation.kernel import GramIndex

BATCH = 16 << 20  # bytes of text whose n-grams are in memory at a time
STRONG = 0.3  # coverage from which an overlap is mostly the same problem, see docs/curation.md


@dataclass(frozen=True)
class Pair:
    """A row of A and an item of B; `shared` distinct n-grams, which are `coverage` of the item's (1.0 where equal)."""

    row: int
    item: int
    exact: bool
    shared: int
    coverage: float


@dataclass(frozen=True)
class Comparison:
    """All overlaps as columns, strongest first: exact, then by coverage, then by shared n-grams, row and item."""

    a: TextSet
    b: TextSet
    ngram: int
    max_document_frequency: int | None
    index: GramIndex  # of B
    boilerplate: int  # n-grams left out for standing in too many items of B
    row: np.ndarray
    item: np.ndarray
    exact: np.ndarray
    shared: np.ndarray
    coverage: np.ndarray

    def pair(self, at: int) -> Pair:
        return Pair(*(getattr(self, name)[at].item() for name in Pair.__dataclass_fields__))

    def strongest(self, limit: int) -> list[Pair]:
        return [self.pair(at) for at in range(min(limit, len(self.row)))]

    def examples(self, limit: int) -> list[Pair]:
        """One exact overlap, then others evenly from the strongest to the weakest; where these run out, exact ones."""
        exact, other = np.flatnonzero(self.exact), np.flatnonzero(~self.exact)
        others = min(len(other), limit - min(1, len(exact), limit))
        spread = other[np.linspace(0, len(other) - 1, others).astype(np.int64)] if others else other[:0]
        return [self.pair(at) for at in [*exact[: limit - others], *spread]]

    def table(self) -> list[dict]:
        """Items of B and rows of A by kind of overlap; the last line is any of them."""
        by_gram = self.shared > 0
        kinds = {
            "exact": self.exact,
            f"{self.ngram}-gram": by_gram,
            f"{self.ngram}-gram, coverage ≥ {STRONG:.0%}": by_gram & (self.coverage >= STRONG),
            "exact or n-gram": self.exact | by_gram,
        }
        items, rows = len(self.b.texts), len(self.a.texts)
        lines = []
        for name, mask in kinds.items():
            hit_items, hit_rows = (len(np.unique(column[mask])) for column in (self.item, self.row))
            lines.append(
                {
                    "overlap": name, "items": hit_items, "items_share": hit_items / items,
                    "rows": hit_rows, "rows_share": hit_rows / rows,
                }
            )  # fmt: skip
        return lines

    def sides(self, pair: Pair) -> tuple[tuple, tuple]:
        """("A", origin, text, spans) and ("B", …) of a pair; spans of the same run mark the same words."""
        text_a, text_b = self.a.texts[pair.row].as_py(), self.b.texts[pair.item].as_py()
        spans_a, spans_b = shared_spans(text_a, text_b, self.ngram, None if pair.exact else self._counted)
        return ("A", self.a.origins[pair.row], text_a, spans_a), ("B", self.b.origins[pair.item], text_b, spans_b)

    def _counted(self, grams: Sequence[Gram]) -> np.ndarray:
        """Which n-grams are no boilerplate."""
        _, hashes = gram_sets(pa.array([" ".join(gram) for gram in grams]), self.ngram)
        return np.isin(hashes, self.index.hashes)

    def as_json(self) -> dict:
        """The table and every overlap, as plain values."""
        sets = {
            letter: {
                "name": s.name, "column": s.column, "rows": len(s.texts), "empty": s.empty,
                "opening": s.opening, "ending": s.ending,
            }
            for letter, s in (("a", self.a), ("b", self.b))
        }  # fmt: skip
        overlaps = [
            {
                "a": self.a.origins[pair.row], "b": self.b.origins[pair.item], "exact": pair.exact,
                "shared": pair.shared, "coverage": round(pair.coverage, 6),
            }
            for pair in self.strongest(len(self.row))
        ]  # fmt: skip
        return {
            **sets, "ngram": self.ngram, "max_document_frequency": self.max_document_frequency,
            "boilerplate": self.boilerplate, "table": self.table(), "overlaps": overlaps,
        }  # fmt: skip


def compare(
    a: TextSet,
    b: TextSet,
    ngram: int = 8,
    max_document_frequency: int | None = 10,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """All pairs of a row of `a` and an item of `b` with the same `letter_keys` or a shared n-gram."""
    normal_a, normal_b = letter_keys(a.texts), letter_keys(b.texts)
    index, boilerplate = build_index(ngram, b.origins, normal_b, gram_sets(b.texts, ngram), max_document_frequency)
    row, item, shared = _by_ngram(a.texts, index, progress)
    equal_row, equal_item = equal_pairs(normal_a, normal_b)
    items = len(b.texts)
    by_gram, equal = row * items + item, equal_row * items + equal_item
    every = np.union1d(by_gram, equal)
    counts, exact = np.zeros(len(every), np.int64), np.zeros(len(every), bool)
    counts[np.searchsorted(every, by_gram)] = shared
    exact[np.searchsorted(every, equal)] = True
    row, item = every // items, every % items
    coverage = np.where(exact, 1.0, counts / np.maximum(index.sizes[item], 1))
    order = np.lexsort((item, row, -counts, -coverage, ~exact))
    columns = (column[order] for column in (row, item, exact, counts, coverage))
    return Comparison(a, b, ngram, max_document_frequency, index, boilerplate, *columns)


def _by_ngram(texts: pa.Array, index: GramIndex, progress) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, item, shared) in batches of about BATCH bytes; only texts that overlap at all are looked at closely."""
    batch_of = np.cumsum(pc.binary_length(texts).to_numpy()) // BATCH
    edges = np.flatnonzero(np.diff(batch_of, prepend=-1, append=-1))
    found = []
    for first, last in zip(edges[:-1], edges[1:]):
        batch = texts.slice(first, last - first)
        hit = np.flatnonzero(overlaps(batch, index)["gram_item"].to_numpy() >= 0)
        row, item, shared = all_overlaps(index, gram_sets(batch.take(pa.array(hit)), index.n))
        found.append((hit[row] + first, item, shared))
        if progress:
            progress(f"compared {last:,} of {len(texts):,} rows")
    return tuple(np.concatenate(columns) for columns in zip(*found, strict=True))
