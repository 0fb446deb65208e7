"""An index of the n-grams of benchmark items, against which texts are checked for contamination."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tasks.curation.kernel.measures import shingle_sets

_FILTER_BITS = 16  # bits of the filter in front of the table, for each n-gram


@dataclass(frozen=True)
class GramIndex:
    """Hashes of distinct n-grams (ASCII alphanumeric runs, single non-ASCII code points) and the items they occur in.

    It holds no text: hashes and names only.
    """

    n: int
    names: tuple[str, ...]  # of the items; `gram_item` is an index into them
    hashes: np.ndarray  # uint64 [grams], ascending
    places: np.ndarray  # int64 [grams + 1]: items of gram g are items[places[g]:places[g + 1]]
    items: np.ndarray  # int32

    @property
    def sizes(self) -> np.ndarray:
        """int64 [items]: distinct n-grams of each item after the filter; 0 for those that n-grams cannot find."""
        return np.bincount(self.items, minlength=len(self.names)).astype(np.int64)

    @classmethod
    def build(cls, n: int, texts: pa.Array, max_document_frequency: int | None = None, names=None) -> "GramIndex":
        """From the items' texts; n-grams in more than `max_document_frequency` items are boilerplate and left out."""
        names = tuple(map(str, range(len(texts)))) if names is None else tuple(names)
        if len(names) != len(texts):
            raise ValueError(f"{len(names)} names for {len(texts)} items: wanted one each")
        offsets, hashes = shingle_sets(texts, n, signs=False)
        items = np.repeat(np.arange(len(texts), dtype=np.int32), np.diff(offsets))
        order = np.argsort(hashes, kind="stable")
        grams, counts = np.unique(hashes, return_counts=True)
        kept = counts <= (max_document_frequency or len(texts))
        return cls(
            n, names, grams[kept], np.concatenate([[0], np.cumsum(counts[kept])]),
            items[order][np.repeat(kept, counts)],
        )  # fmt: skip

    def arrays(self) -> tuple[np.ndarray, ...]:
        """(filter bits, table, first and last posting of each slot, items, sizes) for the compiled kernel."""
        if not hasattr(self, "_arrays"):
            object.__setattr__(self, "_arrays", self._tables())
        return self._arrays

    def _tables(self) -> tuple[np.ndarray, ...]:
        size = 1 << max(6, int(2 * len(self.hashes)).bit_length())
        bits = np.zeros(1 << max(0, (_FILTER_BITS * len(self.hashes) // 64).bit_length()), np.uint64)
        places = (self.hashes >> np.uint64(32)) & np.uint64(len(bits) * 64 - 1)
        np.bitwise_or.at(bits, places >> np.uint64(6), np.uint64(1) << (places & np.uint64(63)))
        slots, gram_at = np.zeros(size, np.uint64), np.zeros(size, np.int64)
        waiting, at = np.arange(len(self.hashes)), self.hashes & np.uint64(size - 1)
        while len(waiting):  # each round puts one of the waiting grams into every free slot they ask for
            free = slots[at] == 0
            taken, first = np.unique(at[free], return_index=True)
            chosen = waiting[free][first]
            slots[taken], gram_at[taken] = self.hashes[chosen], chosen
            left = slots[at] != self.hashes[waiting]
            waiting, at = waiting[left], (at[left] + np.uint64(1)) & np.uint64(size - 1)
        postings = np.zeros((size, 2), np.int64)
        used = slots != 0
        postings[used, 0], postings[used, 1] = self.places[gram_at[used]], self.places[gram_at[used] + 1]
        items = np.array(self.items, np.int32)  # a copy: to the compiler a read-only array is another type
        return bits, slots, postings, items, self.sizes
