"""Equal problems: a hash of a text's letters, digits and signs, with nothing between them.

Published copies of one problem differ in spacing, line breaks and punctuation (`$x,$ $y$` and `$x, y$`), hardly in
anything else. The signs `+ - * / ^ = < > % !` and decimal points stay: 3+4 is not 3-4, 2.5 is not 25.
"""

import functools
import re
import unicodedata

import numpy as np
import pyarrow as pa
from numba import njit

from tasks.curation.kernel import exact_hash
from tasks.curation.kernel.arrow import binary16, flat
from tasks.curation.kernel.characters import SIGNS, class_table
from tasks.curation.kernel.fused import SOURCES, put_digest, widest
from tasks.curation.kernel.native import ALNUM, KINDS, MARK_BIT, NFC_BIT, SIGN, WHITE_BIT, WIDE, decode

POINT, ZERO, NINE = ord("."), ord("0"), ord("9")
_KEPT = re.compile(rf"[0-9A-Za-z{re.escape(SIGNS)}]|(?<=[0-9])\.(?=[0-9])|[^\x00-\x7f]")
_LOWER = str.maketrans({chr(upper): chr(upper + 32) for upper in range(ord("A"), ord("Z") + 1)})


@functools.cache
def _dropped() -> np.ndarray:
    """bool [0x110000]: the non-ASCII code points that are punctuation, marks or white space."""
    pages, classes = class_table()
    dropped = (classes[(pages[:, None] + np.arange(256)).reshape(-1)] & (MARK_BIT | WHITE_BIT)) != 0
    dropped |= np.fromiter((unicodedata.category(chr(code))[0] == "P" for code in range(0x110000)), bool, 0x110000)
    return dropped


def letters(text: str) -> str:
    """What counts of a text when two are compared, the rule in plain Python."""
    kept = _KEPT.findall(unicodedata.normalize("NFC", text))
    return "".join(c for c in kept if c.isascii() or not _dropped()[ord(c)]).translate(_LOWER)


def _compiled(sources):  # a part of the cache's key, as in kernel/fused.py
    @njit(nogil=True, cache=True)
    def letter_digests(data, offsets, pages, classes, dropped, out, kept, composed):
        """Digest and number of kept bytes of each text, and whether it may change under NFC."""
        folded = np.empty(widest(offsets) if sources else 0, np.uint8)
        for row in range(len(offsets) - 1):
            at, hi, size = offsets[row], offsets[row + 1], 0
            while at < hi:
                c = data[at]
                kind = KINDS[c]
                width = 1
                keep = kind == ALNUM or kind == SIGN
                if kind == WIDE:
                    value, width = decode(data, at)
                    composed[row] |= (classes[pages[value >> 8] + (value & 255)] & NFC_BIT) != 0
                    keep = not dropped[value]
                elif c == POINT and offsets[row] < at < hi - 1:
                    keep = ZERO <= data[at - 1] <= NINE and ZERO <= data[at + 1] <= NINE
                if keep:
                    for k in range(width):
                        folded[size + k] = data[at + k]
                    if kind == ALNUM:
                        folded[size] |= np.uint8(32)
                    size += width
                at += width
            kept[row] = size
            put_digest(out[row], folded, 0, size)

    return letter_digests


_letter_digests = _compiled(SOURCES)


def letter_keys(texts: pa.Array) -> pa.Array:
    """fixed_size_binary(16) per text, equal where two texts are equal but for case, spacing and punctuation; null where
    nothing is left to compare. ValueError for a text that is not UTF-8."""
    batch = flat(texts)
    rows = len(batch.offsets) - 1
    out, kept, composed = np.empty((rows, 16), np.uint8), np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
    _letter_digests(batch.data, batch.offsets, *class_table(), _dropped(), out, kept, composed)
    for row in np.flatnonzero(composed):  # few; NFC is Python's
        text = letters(batch.data[batch.offsets[row] : batch.offsets[row + 1]].tobytes().decode())
        out[row] = np.frombuffer(exact_hash(pa.array([text]))[0].as_py(), np.uint8)
        kept[row] = len(text)
    return binary16(out, kept == 0)
