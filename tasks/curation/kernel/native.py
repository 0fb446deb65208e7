"""The fused kernel, compiled: one text at a time through tokens, folded text, tags, words, n-grams and MinHash.

Texts are UTF-8 (`data`, checked by the caller) between byte offsets. Everything a text yields is an
integer in `out[row]`, at the places named in COUNTS; shares are computed from them in measures.py. Hashes are 64-bit
integer arithmetic modulo 2**64 and are written a second time, as SQL, in oracle.sql.
"""

import numpy as np
from numba import njit

from tasks.curation.kernel.layout import (
    LONGEST_PARAGRAPH,
    PARAGRAPH_CHARS,
    REPEATED_CHARS,
    THINK_OPEN,
    THOUGHT_CHARS,
    WELL_FORMED,
)
from tasks.curation.kernel.vectors import fold64, load_word, ones, text_masks, trailing_zeros

U = np.uint64
M1, M2, GOLDEN = U(0xBF58476D1CE4E5B9), U(0x94D049BB133111EB), U(0x9E3779B97F4A7C15)
WORD_STEP, TOKEN_STEP, LANE = U(0xD6E8FEB86659FD93), U(0xC2B2AE3D27D4EB4F), U(0xA0761D6478BD642F)
LOWER, ALL = U(0x2020202020202020), U(0xFFFFFFFFFFFFFFFF)
S27, S30, S31, S32, ONE = U(27), U(30), U(31), U(32), U(1)
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
    for at in range(start, end - 7, 8):
        place += GOLDEN
        mixed = mix(load_word(data, at) + place)
        low += mixed
        high += mix(mixed ^ LANE)
    size = end - start
    if size & 7:
        at = start + (size & ~7)
        mixed = mix(first_bytes(load_word(data, at), end - at) + (place + GOLDEN))
        low += mixed
        high += mix(mixed ^ LANE)
    return mix(low + U(size)), mix(high + U(size))


@compiled
def first_bytes(word, size):
    """The first 1..8 bytes of a big-endian word, zeros after them."""
    return word & (ALL << U(64 - 8 * size))


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
def read_tags(text, here, hi, tags):
    """Books the tags that start at `here`: tags = [found, the first four in base 5, place of the first </think>]."""
    for tag in range(4):
        if starts_with(text, here, hi, tag):
            tags[3 + tag] += 1
            tags[0] += 1
            tags[1] = tags[1] * 5 + tag + 1 if tags[0] <= 4 else 0
            if tag == 1 and tags[2] < 0:
                tags[2] = here


@compiled
def fold(text, hi, folded):
    """White-space runs as one space, none at the ends, ASCII lower-cased; for texts whose white space is ASCII.

    Returns the bytes written to `folded`, which needs room for 64 more.
    """
    w, before = 0, ONE
    for base in range(0, hi, 64):
        _, _, white, _, _, _, _ = text_masks(text, base)
        kept = ~(white & (white << ONE | before))
        before = white >> U(63)
        size = min(hi - base, 64)
        if size < 64:
            kept &= (ONE << U(size)) - ONE
        while kept:
            bit = trailing_zeros(kept)
            length = trailing_zeros(~(kept >> U(bit)))
            fold64(text, base + bit, folded, w)
            w += length
            kept = U(0) if bit + length > 63 else kept >> U(bit + length) << U(bit + length)
    return w - 1 if w > 0 and folded[w - 1] == 32 else w


@compiled
def fold_all(text, hi, pages, classes, folded):
    """`fold` for any white space, one character at a time."""
    at, w, gap = 0, 0, False
    while at < hi:
        size = 1 if text[at] < 128 else decode(text, at)[1]
        if is_white(text, at, pages, classes):
            gap = w > 0
        else:
            if gap:
                folded[w] = 32
                w += 1
                gap = False
            for k in range(size):
                c = text[at + k]
                folded[w] = c | np.uint8(32) if 65 <= c <= 90 else c
                w += 1
        at += size
    return w


@compiled
def is_white(text, at, pages, classes):
    c = text[at]
    if c < 128:
        return KINDS[c] == SPACE
    value, _ = decode(text, at)
    return (classes[pages[value >> 8] + (value & 255)] & WHITE_BIT) != 0


@compiled
def skip_white(text, at, hi, pages, classes):
    while at < hi and is_white(text, at, pages, classes):
        at += 1 if text[at] < 128 else decode(text, at)[1]
    return at


@compiled
def character_before(text, at):
    at -= 1
    while text[at] & 0xC0 == 0x80:
        at -= 1
    return at


@compiled
def add_paragraph(text, start, end, pages, classes, paragraphs, seen):
    while end > start and is_white(text, character_before(text, end), pages, classes):
        end = character_before(text, end)
    paragraphs[seen, 0], paragraphs[seen, 1] = start, end
    return seen + (end > start)


@compiled
def find_paragraphs(text, hi, pages, classes, newlines, lines, paragraphs):
    """[start, end] of each paragraph: lines with something on them, white space around left out; how many."""
    start, seen, k = skip_white(text, 0, hi, pages, classes), 0, 0
    while k < lines:
        here = newlines[k]
        k += 1
        after = skip_white(text, here + 1, hi, pages, classes)
        blank = False
        while k < lines and newlines[k] < after:
            blank = True
            k += 1
        if blank and after > start:
            seen = add_paragraph(text, start, here, pages, classes, paragraphs, seen)
            start = after
    return add_paragraph(text, start, hi, pages, classes, paragraphs, seen) if start < hi else seen


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
def code_points(text, lo, hi):
    tails = 0
    for at in range(lo, hi, 64):
        _, _, _, _, tail, _, _ = text_masks(text, at)
        tails += ones(tail if hi - at >= 64 else tail & ((ONE << U(hi - at)) - ONE))
    return hi - lo - tails


@compiled
def outline(text, start, end):
    """A hash of the length, the first and the last 8 bytes: equal paragraphs have equal ones."""
    return max(mix((load_word(text, start) ^ U(end - start)) * WORD_STEP + load_word(text, max(end - 8, 0))), ONE)


@compiled
def repetition(text, ascii, paragraphs, count, table, out):
    """Code points of all paragraphs, of the longest, and of those equal to an earlier one."""
    slots = table[: slots_for(count)]
    slots[:] = 0
    alike = False
    for k in range(count):
        start, end = paragraphs[k, 0], paragraphs[k, 1]
        chars = end - start if ascii else code_points(text, start, end)
        out[PARAGRAPH_CHARS] += chars
        out[LONGEST_PARAGRAPH] = max(out[LONGEST_PARAGRAPH], chars)
        # Shorter ones hold neighbours' bytes in their 8: they count as alike until their digests tell.
        alike |= end - start < 8 or not insert(slots, outline(text, start, end))
    if not alike:
        return
    slots[:] = 0
    for k in range(count):
        start, end = paragraphs[k, 0], paragraphs[k, 1]
        low, _ = digest(text, start, end)
        if not insert(slots, max(low, ONE)):
            out[REPEATED_CHARS] += code_points(text, start, end)


@compiled
def chain_of_thought(text, hi, tags, pages, classes, out):
    """Tag counts and form; (start, end) of the chain of thought, of the whole text where there is none."""
    for tag in range(4):
        out[THINK_OPEN + tag] = tags[3 + tag]
    first = skip_white(text, 0, hi, pages, classes)
    thinks = starts_with(text, first, hi, 0)
    out[WELL_FORMED] = thinks and tags[1] == 194  # <think> </think> <answer> </answer>: 1, 2, 3, 4 in base 5
    out[THOUGHT_CHARS] = -1
    return (first + 7, tags[2]) if thinks and tags[2] >= 0 else (0, hi)
