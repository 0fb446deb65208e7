"""Words by script in a range of bytes, maths and code left out; compiled.

What is left out, leftmost first: ``` to the next ``` or the end; `…` within a line; $$…$$; $…$ within a line, no white
space inside its signs; \\(…\\) and \\[…\\] without a further opening inside; \\command{…}{…}; http(s) addresses.
"""

import numpy as np

from tasks.curation.kernel.layout import CODE_FENCES, WORDS
from tasks.curation.kernel.native import (
    ALL,
    JOINER_ID,
    LATIN_ID,
    ONE,
    SCRIPT_BITS,
    U,
    character_before,
    compiled,
    decode,
    is_white,
)
from tasks.curation.kernel.vectors import equal_mask, leading_zeros, ones, trailing_zeros, word_masks

TWO = U(2)
NOTHING, LETTER, APOSTROPHE, SPECIAL, WIDE = 0, 1, 2, 3, 4
BACKTICK, DOLLAR, BACKSLASH, NEWLINE = 96, 36, 92, 10


def _byte_roles() -> np.ndarray:
    roles = np.zeros(256, np.uint8)
    roles[[code for code in range(128) if chr(code).isalpha()]] = LETTER
    roles[ord("'")] = APOSTROPHE
    roles[[BACKTICK, DOLLAR, BACKSLASH]] = SPECIAL
    roles[128:] = WIDE
    return roles


ROLES = _byte_roles()
ADDRESS = np.frombuffer(b"https://", np.uint8)


@compiled
def find_fence(data, at, hi):
    """Where the next ``` stands; `hi` where there is none."""
    while at < hi:
        ticks = equal_mask(data, at, BACKTICK)
        fence = ticks & (ticks >> ONE) & (ticks >> TWO)
        if fence:
            at += trailing_zeros(fence)
            return at if at + 2 < hi else hi
        at += 62
    return hi


@compiled
def closing(data, at, hi, sign, lines):
    """Where `sign` next stands, before the end of the line unless `lines`; -1 where it does not."""
    while at < hi:
        found = equal_mask(data, at, sign)
        ends = found if lines else found | equal_mask(data, at, NEWLINE)
        if ends:
            at += trailing_zeros(ends)
            return at if at < hi and data[at] == sign else -1
        at += 64
    return -1


@compiled
def after_dollars(data, at, hi, pages, classes):
    if at + 1 < hi and data[at + 1] == DOLLAR:
        end = closing(data, at + 2, hi, DOLLAR, True)
        return end + 2 if end > at + 2 and end + 1 < hi and data[end + 1] == DOLLAR else at
    end = closing(data, at + 1, hi, DOLLAR, False)
    if end < 0 or is_white(data, at + 1, pages, classes) or is_white(data, character_before(data, end), pages, classes):
        return at
    return end + 1


@compiled
def after_backslash(data, at, hi):
    if at + 1 >= hi:
        return at
    c = data[at + 1]
    if c == 40 or c == 91:  # \( or \[
        close = 41 if c == 40 else 93
        i = at + 2
        while i + 1 < hi:
            if data[i] != BACKSLASH:
                i += 1
            elif data[i + 1] == close:
                return i + 2
            elif data[i + 1] == c:
                return at
            else:
                i += 2
        return at
    i = at + 1
    while i < hi and ROLES[data[i]] == LETTER:
        i += 1
    if i == at + 1:
        return at
    while i < hi and data[i] == 123:  # {…}
        end = i + 1
        while end < hi and data[end] != 123 and data[end] != 125 and data[end] != NEWLINE:
            end += 1
        if end >= hi or data[end] != 125:
            break
        i = end + 1
    return i


@compiled
def after_address(data, at, lo, hi, pages, classes):
    before = data[at - 1] if at > lo else 32
    if before == 95 or 48 <= before <= 57 or ROLES[before] == LETTER:
        return at
    i, k = at, 0
    while k < 8:
        if i < hi and data[i] == ADDRESS[k]:
            i += 1
        elif k != 4:
            return at
        k += 1
    start = i
    while i < hi and not is_white(data, i, pages, classes):
        i += 1
    return i if i > start else at


@compiled
def left_out(data, at, lo, hi, pages, classes):
    """The end of what starts at `at` and holds no words; `at` itself where nothing such does."""
    c = data[at]
    if c == BACKTICK:
        if find_fence(data, at, min(at + 3, hi)) == at:
            return min(find_fence(data, at + 3, hi) + 3, hi)
        end = closing(data, at + 1, hi, BACKTICK, False)
        return end + 1 if end > at + 1 else at
    if c == DOLLAR:
        return after_dollars(data, at, hi, pages, classes)
    if c == BACKSLASH:
        return after_backslash(data, at, hi)
    return after_address(data, at, lo, hi, pages, classes)


@compiled
def count_fences(data, lo, hi, out):
    at = find_fence(data, lo, hi)
    while at < hi:
        out[CODE_FENCES] += 1
        at = find_fence(data, at + 3, hi)


@compiled
def count_plain(data, at, hi):
    """(words, end) of plain ASCII from `at`, which follows no letter; ends after a character that is none; or at `at`.

    With letters and apostrophes as bits, a word is a run of at least two bits after the apostrophes that do not stand
    between letters are taken away.
    """
    words = 0
    while at < hi:
        letters, apostrophes, closer, h, t = word_masks(data, at)
        closer |= h & (t >> ONE) & (t >> TWO)
        usable = min(trailing_zeros(closer), hi - at)
        below = ALL if usable == 64 else (ONE << U(usable)) - ONE
        last = leading_zeros(~(letters | apostrophes) & below)
        if last == 64:
            return words, at
        below = ALL >> U(last)
        letters &= below
        runs = letters | (apostrophes & (letters << ONE) & (letters >> ONE))
        words += ones(runs & ~(runs << ONE) & (runs >> ONE))
        at += 64 - last
    return words, at


@compiled
def count_words(data, lo, hi, pages, classes, needed, spaceless, out):
    """Adds to out[WORDS + script id]: words, or letters in scripts without spaces.

    A word is a run of letters of one script, apostrophes between them and accents after them included.
    """
    i, run, length, joined = lo, 0, 0, False
    while i < hi:
        if run == 0 and not joined:
            plain, i = count_plain(data, i, hi)
            out[WORDS + LATIN_ID] += plain
            if i >= hi:
                break
        c = data[i]
        role = ROLES[c]
        script, letters, size = LATIN_ID, 1, 1
        if role == LETTER:
            if c == 104 and i + 7 < hi and data[i + 1] == 116 and data[i + 2] == 116:  # htt
                end = left_out(data, i, lo, hi, pages, classes)
                if end > i:
                    i, run, joined = end, 0, False
                    continue
            while i + size < hi and ROLES[data[i + size]] == LETTER:
                size += 1
            letters = size
        elif role == NOTHING:
            i, run, joined = i + 1, 0, False
            continue
        elif role == SPECIAL:
            i, run, joined = max(left_out(data, i, lo, hi, pages, classes), i + 1), 0, False
            continue
        else:
            value = np.int64(c)
            if role == WIDE:
                value, size = decode(data, i)
            if role == APOSTROPHE or value == 0x2019:
                run = run if run > 0 and not joined and not spaceless[run] else 0
                joined = True
                i += size
                continue
            script = np.int64(classes[pages[value >> 8] + (value & 255)] & SCRIPT_BITS)
            if script == JOINER_ID:
                i += size
                continue
        if script != run:
            run, length = script, 0
        joined = False
        if run > 0:
            if spaceless[run]:
                out[WORDS + run] += letters
            elif length < needed[run] <= length + letters:
                out[WORDS + run] += 1
            length += letters
        i += size
