"""Which benchmark items a text overlaps with, and nothing else: several times faster than a full `measure`.

Walk, token rule, hashes and search are the kernel's. The columns are those of `measure` with an index, and the same
values.
"""

import numpy as np
import pyarrow as pa
from numba import njit

from tasks.curation.kernel import GramIndex
from tasks.curation.kernel.arrow import flat
from tasks.curation.kernel.characters import class_table
from tasks.curation.kernel.fused import SOURCES, scan_text, token_scratch, widest
from tasks.curation.kernel.layout import GRAM_END, GRAM_GRAMS, GRAM_HITS, GRAM_ITEM, GRAM_START, WIDTH
from tasks.curation.kernel.overlaps import hit_book, overlap

COLUMNS = pa.schema(
    [
        ("gram_hits", pa.int32()),  # distinct n-grams of the item that the text has
        ("gram_item", pa.int32()),  # the item of highest coverage; -1 where no n-gram is shared
        ("gram_coverage", pa.float64()),  # hits / the item's distinct n-grams
        ("gram_start", pa.int64()),  # bytes; the first stretch of the text that the item has too
        ("gram_end", pa.int64()),
    ]
)


def _compiled(sources):  # a part of the cache's key, as in kernel/fused.py
    @njit(nogil=True, cache=True)
    def overlaps(data, offsets, characters, n, index, out):
        """out[text] = (hits, item, n-grams of the item, start, end)."""
        if sources == 0:
            return
        text, lists, _, _ = token_scratch(widest(offsets))
        tokens, starts, _, plain, _, _, _ = lists
        book, found = hit_book(index), np.zeros(WIDTH, np.int64)
        for row in range(len(offsets) - 1):
            _, count, _, _, _ = scan_text(data, offsets[row], offsets[row + 1], characters, text, lists)
            size = offsets[row + 1] - offsets[row]
            found[:] = 0
            overlap(text, size, tokens, starts, plain, count, n, index, book, row + 1, found)
            out[row, 0], out[row, 1], out[row, 2] = found[GRAM_HITS], found[GRAM_ITEM], found[GRAM_GRAMS]
            out[row, 3], out[row, 4] = found[GRAM_START], found[GRAM_END]

    return overlaps


_overlaps = _compiled(SOURCES)


def overlaps(texts: pa.Array, index: GramIndex) -> pa.RecordBatch:
    """COLUMNS, a row for each text; null texts overlap with nothing. ValueError for a text that is not UTF-8."""
    batch = flat(texts)
    out = np.zeros((len(batch.offsets) - 1, 5), np.int64)
    _overlaps(batch.data, batch.offsets, class_table(), index.n, index.arrays(), out)
    hits, item, grams, start, end = out.T
    columns = (hits, item, hits / np.maximum(grams, 1), start, end)
    return pa.RecordBatch.from_arrays(
        [pa.array(column).cast(field.type) for column, field in zip(columns, COLUMNS)], schema=COLUMNS
    )
