"""The fused kernel, compiled: one text at a time through tokens, folded text, tags, words, n-grams and MinHash.

Texts are UTF-8 (`data`, checked by the caller) between byte offsets. Everything a text yields is an
integer in `out[row]`, at the places named in COUNTS; shares are computed from them in measures.py. Hashes are 64-bit
integer arithmetic modulo 2**64 and are written a second time, as SQL, in oracle.sql.
"""

import numpy as np
from numba import njit

from tasks.curation.kernel.layout import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    BYTES,
    CHARS,
    CODE_FENCES,
    GRAM_END,
    GRAM_HITS,
    GRAM_ITEM,
    GRAM_START,
    LONGEST_PARAGRAPH,
    NOT_NFC,
    PARAGRAPH_CHARS,
    PARAGRAPHS,
    REPEATED_CHARS,
    SHINGLES,
    THINK_CLOSE,
    THINK_OPEN,
    THOUGHT_CHARS,
    TOKENS,
    WELL_FORMED,
    WORDS,
)

U = np.uint64
M1, M2, GOLDEN = U(0xBF58476D1CE4E5B9), U(0x94D049BB133111EB), U(0x9E3779B97F4A7C15)
CHAR_STEP, TOKEN_STEP, LANE = U(0xD6E8FEB86659FD93), U(0xC2B2AE3D27D4EB4F), U(0xA0761D6478BD642F)
S27, S30, S31, S32, S8, ONE = U(27), U(30), U(31), U(32), U(8), U(1)
OTHER, ALNUM, SIGN, SPACE, WIDE = 0, 1, 2, 3, 4  # kinds of bytes
SCRIPT_BITS, NFC_BIT, MARK_BIT, WHITE_BIT, JOINER_ID, LATIN_ID = 0x1F, 0x20, 0x40, 0x80, 31, 1


def _byte_kinds() -> np.ndarray:
    kinds = np.zeros(256, np.uint8)
    for code in range(128):
        char = chr(code)
        kinds[code] = ALNUM if char.isalnum() else SIGN if char in "+-*/^=<>%!" else SPACE if char.isspace() else OTHER
    kinds[128:] = WIDE
    return kinds


KINDS = _byte_kinds()
TAGS = np.zeros((4, 10), np.uint8)
for _tag, _text in enumerate((b"<think>", b"</think>", b"<answer>", b"</answer>")):
    TAGS[_tag, : len(_text)] = list(_text)
TAG_SIZES = np.array([7, 8, 8, 9])
compiled = njit(nogil=True)  # cached with the functions of fused.py that call it


@compiled
def mix(x):
    """The finaliser of splitmix64: a bijection of 64 bits."""
    x = (x ^ (x >> S30)) * M1
    x = (x ^ (x >> S27)) * M2
    return x ^ (x >> S31)


@compiled
def digest(data, start, end):
    """128-bit hash of bytes: two sums over the big-endian 64-bit words, each mixed with its place, then the length."""
    low, high, place = U(0), U(0), U(0)
    for at in range(start, end, 8):
        word = U(0)
        if at + 8 <= end:
            for k in range(8):
                word = (word << S8) | U(data[at + k])
        else:
            for k in range(8):
                word = (word << S8) | (U(data[at + k]) if at + k < end else U(0))
        place += GOLDEN
        mixed = mix(word + place)
        low += mixed
        high += mix(mixed ^ LANE)
    size = U(end - start)
    return mix(low + size), mix(high + size)


@compiled
def decode(data, at):
    """(code point, bytes) of the non-ASCII character at `at`."""
    c = np.int64(data[at])
    if c < 0xE0:
        return (c & 31) << 6 | (np.int64(data[at + 1]) & 63), 2
    if c < 0xF0:
        return (c & 15) << 12 | (np.int64(data[at + 1]) & 63) << 6 | (np.int64(data[at + 2]) & 63), 3
    tail = (np.int64(data[at + 1]) & 63) << 12 | (np.int64(data[at + 2]) & 63) << 6 | (np.int64(data[at + 3]) & 63)
    return (c & 7) << 18 | tail, 4


@compiled
def starts_with(data, at, end, tag):
    size = TAG_SIZES[tag]
    if at + size > end:
        return False
    for k in range(size):
        if data[at + k] != TAGS[tag, k]:
            return False
    return True


@compiled
def scan(data, lo, hi, pages, classes, tokens, starts, plain, folded, paragraphs, out):
    """One walk over the bytes: tokens, folded text, paragraphs, tags.

    Fills `tokens` (hashes), `starts` (byte offsets), `plain` (which of them are no signs), `folded` (white-space runs
    as one space, ASCII lower-cased) and `paragraphs` ([start in folded, end in folded, code points] each). Returns
    (tokens, plain tokens, folded bytes, start and end of the chain of thought; the whole text where there is none).
    """
    i, w, count, plains, extra, white, lines, gap = lo, 0, 0, 0, 0, 0, 2, True
    first, opened, closed, order, tags, seen = -1, 0, -1, 0, 0, 0
    while i < hi:
        c = data[i]
        kind = KINDS[c]
        if kind == SPACE:
            lines += c == 10
            white += 1
            gap = True
            i += 1
            continue
        size, value, mark = 1, np.int64(c), False
        if kind == WIDE:
            value, size = decode(data, i)
            what = classes[pages[value >> 8] + (value & 255)]
            extra += size - 1
            if what & WHITE_BIT:
                white += 1
                gap = True
                i += size
                continue
            if what & NFC_BIT:
                out[NOT_NFC] = 1
            mark = (what & MARK_BIT) != 0
        if gap:
            here = i - lo - extra + (size - 1)  # in code points
            if lines >= 2:
                if seen > 0:
                    paragraphs[seen - 1, 1] = w
                    paragraphs[seen - 1, 2] = here - white - paragraphs[seen - 1, 2]
                else:
                    first = i
                seen += 1
            if w > 0:
                folded[w] = 32
                w += 1
            if lines >= 2:
                paragraphs[seen - 1, 0] = w
                paragraphs[seen - 1, 2] = here
            gap, lines, white = False, 0, 0
        start = i
        if kind == ALNUM:
            h = U(0)
            while True:
                lower = c | np.uint8(32)
                folded[w] = lower
                w += 1
                h = h * CHAR_STEP + U(lower)
                i += 1
                if i == hi:
                    break
                c = data[i]
                if KINDS[c] != ALNUM:
                    break
        else:
            h = U(value)
            for k in range(size):
                folded[w + k] = data[i + k]
            w += size
            i += size
            if c == 60:
                for tag in range(4):
                    if starts_with(data, start, hi, tag):
                        out[THINK_OPEN + tag] += 1
                        tags += 1
                        order = order * 5 + tag + 1 if tags <= 4 else 0
                        if tag == 1 and closed < 0:
                            closed = start
            if kind == OTHER or mark:
                continue
        tokens[count] = mix(h)
        starts[count] = start
        if kind != SIGN:
            plain[plains] = count
            plains += 1
        count += 1
    chars = hi - lo - extra
    if seen > 0:
        paragraphs[seen - 1, 1] = w
        paragraphs[seen - 1, 2] = chars - white - paragraphs[seen - 1, 2]
    out[BYTES], out[CHARS], out[TOKENS], out[PARAGRAPHS] = hi - lo, chars, count, seen
    thinks = first >= 0 and starts_with(data, first, hi, 0)
    out[WELL_FORMED] = thinks and order == 194  # 1, 2, 3, 4 in base 5
    out[THOUGHT_CHARS] = -1
    if thinks and closed >= 0:
        return count, plains, w, first + 7, closed
    return count, plains, w, lo, hi


@compiled
def insert(table, key):
    """Into an open-addressing set of which a power of two of slots is in use; True where the key is new."""
    slots = U(len(table) - 1)
    at = key & slots
    while True:
        held = table[at]
        if held == key:
            return False
        if held == 0:
            table[at] = key
            return True
        at = (at + ONE) & slots


@compiled
def slots_for(items):
    size = 64
    while size < 2 * items:
        size *= 2
    return size


@compiled
def step_power(n):
    power = ONE
    for _ in range(n):
        power *= TOKEN_STEP
    return power


@compiled
def shingle_set(tokens, count, n, table, found):
    """Distinct n-grams of the tokens' hashes into `found`; returns how many. `table` is scratch."""
    if count < n:
        return 0
    slots = table[: slots_for(count - n + 1)]
    slots[:] = 0
    power, rolling, distinct = step_power(n), U(0), 0
    for k in range(n - 1):
        rolling = rolling * TOKEN_STEP + tokens[k]
    for k in range(n - 1, count):
        rolling = rolling * TOKEN_STEP + tokens[k]
        if k >= n:
            rolling -= tokens[k - n] * power
        gram = max(mix(rolling), ONE)  # 0 marks an empty slot
        found[distinct] = gram
        distinct += insert(slots, gram)
    return distinct


@compiled
def minhash(found, distinct, factors, terms, signature):
    """signature[p] = least of factors[p] * x + terms[p] modulo 2**32 over the upper halves x of the n-gram hashes."""
    signature[:] = np.uint32(0xFFFFFFFF)
    for k in range(distinct):
        x = np.uint32(found[k] >> S32)
        for p in range(len(signature)):
            signature[p] = min(signature[p], np.uint32(np.uint32(x * factors[p]) + terms[p]))


@compiled
def band_hashes(signature, rows, bands):
    """bands[j]: hash of j and of rows j*rows.. of the signature; texts that share one are candidate pairs."""
    for j in range(len(bands)):
        h = U(j + 1)
        for k in range(j * rows, (j + 1) * rows):
            h = h * TOKEN_STEP + U(signature[k])
        bands[j] = mix(h)


@compiled
def repetition(folded, paragraphs, count, table, out):
    """Code points of all paragraphs, of the longest, and of those equal (folded) to an earlier one."""
    slots = table[: slots_for(count)]
    slots[:] = 0
    for k in range(count):
        chars = paragraphs[k, 2]
        out[PARAGRAPH_CHARS] += chars
        out[LONGEST_PARAGRAPH] = max(out[LONGEST_PARAGRAPH], chars)
        if count > 1:
            low, _ = digest(folded, paragraphs[k, 0], paragraphs[k, 1])
            if not insert(slots, max(low, ONE)):
                out[REPEATED_CHARS] += chars
