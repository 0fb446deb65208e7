"""Completions byte by byte: composed as a list of units (vocabulary.py), edited by what is planted, copied out.

Everything follows from the seeds of a row, so a duplicate is made by composing its source again.
"""

import numpy as np
from numba import njit, uint64

from benchmarks.planted import vocabulary as v

KINDS = (
    "clean", "exact_duplicate", "normalised_duplicate", "near_duplicate_within", "near_duplicate_across",
    "mixed_language", "long_paragraph", "code_fence", "truncated", "loop", "malformed", "refusal", "contaminated_text",
)  # fmt: skip
CLEAN, EXACT, NORMALISED, WITHIN, ACROSS, MIXED, LONG = range(7)
CODE, TRUNCATED, LOOP, MALFORMED, REFUSAL, CONTAMINATED = range(7, 13)
MALFORMATIONS = ("no_close", "two_answers", "no_answer", "preamble", "open_answer", "no_open", "two_thoughts")
LONG_PARAGRAPH = 6_500  # code points at least
MOST_UNITS = 1 << 17
# Places in `first`, the regions of the vocabulary.
MARKS, LOWER, UPPER, OPENING, SNIPPETS, NUMBERS, HAN, SCRIPT_0 = range(8)
CODES, REFUSALS, REFUSALS_ZH, PROBLEMS = (SCRIPT_0 + len(v.SCRIPTS) + k for k in range(4))


@njit(cache=True, nogil=True)
def _next(state):
    """SplitMix64."""
    state[0] += uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    return z ^ (z >> uint64(31))


@njit(cache=True, nogil=True)
def _below(state, n):
    return np.int64(((_next(state) >> uint64(32)) * uint64(n)) >> uint64(32))


@njit(cache=True, nogil=True)
def _uniform(state):
    return np.float64(_next(state) >> uint64(11)) * (1.0 / (1 << 53))


@njit(cache=True, nogil=True)
def _rank(state, size, skew):
    """A rank below `size`; small ones are more frequent the larger the skew."""
    u = _uniform(state)
    x = u
    for _ in range(skew - 1):
        x *= u
    return np.int64(x * size)


@njit(cache=True, nogil=True)
def _sentence(units, n, state, zh, opening, first):
    for i in range(5 + _below(state, 16)):
        if i and _below(state, 100) < 6:
            units[n] = v.COMMA_ZH if zh else v.COMMA
            n += 1
        if zh:
            units[n] = first[HAN] + _rank(state, v.HAN_WORDS, 2)
        elif i == 0:
            units[n] = first[OPENING if opening else UPPER] + _rank(state, v.WORDS, 6)
        elif _below(state, 100) < 7:
            units[n] = first[SNIPPETS] + _below(state, v.SNIPPETS)
        else:
            units[n] = first[LOWER] + _rank(state, v.WORDS, 6)
        n += 1
    units[n] = v.STOP_ZH if zh else v.STOP
    return n + 1


@njit(cache=True, nogil=True)
def _compose(units, state, length, zh, first, start):
    """A clean completion of about `length` bytes; (units, place of the closing tag)."""
    units[0], n, size, counted = v.THINK, 1, 0, 1
    while True:
        for i in range(1 + _below(state, 6)):
            n = _sentence(units, n, state, zh, i == 0, first)
        for i in range(counted, n):
            size += start[units[i] + 1] - start[units[i]]
        counted = n
        if size > length - 250 or n > MOST_UNITS // 2:
            break
        units[n] = v.PARAGRAPH
        n += 1
    close = n
    units[n] = v.CLOSE
    n += 1
    for i in range(2):
        n = _sentence(units, n, state, zh, i == 0, first)
    units[n] = v.FINAL_ZH if zh else v.FINAL
    units[n + 1] = v.ANSWER
    units[n + 2] = first[NUMBERS] + _below(state, 9_999)
    units[n + 3] = v.ANSWER_END
    return n + 4, close


@njit(cache=True, nogil=True)
def _is_word(unit, first):
    return first[LOWER] <= unit < first[SNIPPETS] or first[HAN] <= unit < first[HAN] + v.HAN_WORDS


@njit(cache=True, nogil=True)
def _substitute(units, n, state, jaccard, zh, first, tokens):
    """Put other words in until the sets of token 5-grams have this Jaccard similarity; what was reached.

    A new word breaks each of the 5-grams it is in, on both sides, so J = (N - broken) / (N + broken).
    """
    total = 0
    for i in range(n):
        total += tokens[units[i]]
    grams = total - 4
    target = grams * (1 - jaccard) / (1 + jaccard)
    scattered = _below(state, 3) > 0
    stride = grams / max(1.0, target / (6 if zh else 5))
    at, broken, last, done = 0, 0, -1, 0
    place = _uniform(state) * (stride - 8) if scattered else _uniform(state) * (grams - target)
    for i in range(n):
        unit = units[i]
        size = tokens[unit]
        if broken < target and at >= place and _is_word(unit, first):
            if zh:
                units[i] = first[HAN] + _below(state, v.HAN_WORDS)
            else:
                units[i] = first[LOWER] + _below(state, v.WORDS)
            if units[i] != unit and tokens[units[i]] == size:
                lowest, highest = max(at - 4, last + 1, 0), min(at + size - 1, grams - 1)
                broken += max(0, highest - lowest + 1)
                last = max(last, highest)
                done += 1
                if scattered:
                    place = done * stride + _uniform(state) * max(0.0, stride - 8)
            else:
                units[i] = unit
        at += size
    return (grams - broken) / (grams + broken)


@njit(cache=True, nogil=True)
def _insert(units, n, place, unit):
    for i in range(n, place, -1):
        units[i] = units[i - 1]
    units[place] = unit
    return n + 1


@njit(cache=True, nogil=True)
def _after_first_paragraph(units, close):
    for i in range(1, close):
        if units[i] == v.PARAGRAPH:
            return i
    return 1


@njit(cache=True, nogil=True)
def _mix(units, close, state, share, zh, first):
    """Words of one other script in the chain of thought; their share among its words."""
    script = first[SCRIPT_0] if zh else first[SCRIPT_0 + _below(state, 4)]
    words, foreign = 0, 0
    for i in range(1, close):
        if _is_word(units[i], first):
            words += 1
            if _uniform(state) < share:
                foreign += 1
                units[i] = script + _below(state, v.FOREIGN)
    return foreign / max(1, words)


@njit(cache=True, nogil=True)
def _lengthen(units, close, zh, start):
    """Join the first paragraphs into a long one; its code points."""
    size = 0
    for i in range(1, close):
        if units[i] == v.PARAGRAPH:
            if size >= LONG_PARAGRAPH:
                break
            units[i] = v.SPACE
        width = start[units[i] + 1] - start[units[i]]
        size += width // 3 if zh and width > 1 else width
    return float(size)


@njit(cache=True, nogil=True)
def _loop(units, n, close, state, tokens):
    """From some place on the chain of thought repeats itself; the share of token 5-grams that repeat an earlier one."""
    begin = 1 + (close * (20 + _below(state, 30))) // 100
    length = 24 + _below(state, 60)
    units[begin + length - 1] = v.PARAGRAPH
    repeated = 0
    for i in range(begin + length, close):
        units[i] = units[i - length]
        repeated += tokens[units[i]]
    total = -4
    for i in range(n):
        total += tokens[units[i]]
    return repeated / total


@njit(cache=True, nogil=True)
def _malform(units, n, close, which, first):
    """One of MALFORMATIONS."""
    if which == 0:
        units[close] = v.PARAGRAPH
    elif which == 1:
        units[n], units[n + 1], units[n + 2] = v.ANSWER, units[n - 2], v.ANSWER_END
        return n + 3
    elif which == 2:
        units[n - 3], units[n - 1] = v.SPACE, v.STOP
    elif which == 3:
        return _insert(units, n, 0, v.PREAMBLE)
    elif which == 4:
        return n - 1
    elif which == 5:
        units[0] = v.NONE
    else:
        return _insert(units, n, close, v.THINK_TWICE)
    return n


@njit(cache=True, nogil=True)
def _edit(kind, value, extra, units, n, close, state, zh, first, sizes, start, tokens):
    """Plant `kind`; (units, the value reached)."""
    if kind == WITHIN or kind == ACROSS:
        value = _substitute(units, n, state, value, zh, first, tokens)
    elif kind == MIXED:
        value = _mix(units, close, state, value, zh, first)
    elif kind == LONG:
        value = _lengthen(units, close, zh, start)
    elif kind == CODE:
        place = _after_first_paragraph(units, close)
        n = _insert(units, n, place, first[CODES] + extra % v.CODES)
        value = 2.0
    elif kind == LOOP:
        value = _loop(units, n, close, state, tokens)
    elif kind == MALFORMED:
        n = _malform(units, n, close, extra % len(MALFORMATIONS), first)
        value = float(extra % len(MALFORMATIONS))
    elif kind == REFUSAL:
        region = REFUSALS_ZH if zh else REFUSALS
        n = _insert(units, n, close + 1, first[region] + extra % sizes[region])
    elif kind == CONTAMINATED:
        which = 0 if value == 1.0 else 1 if value > 0.5 else 2
        place = _after_first_paragraph(units, close)
        n = _insert(units, n, place, first[PROBLEMS + which] + extra % sizes[PROBLEMS])
    return n, value


@njit(cache=True, nogil=True)
def _copy(units, n, out, at, blob, start, first, loosely, state):
    """Bytes of the units from out[at] on; `loosely`: other white space and case, the same text after normalisation."""
    for i in range(n):
        unit = units[i]
        shout = False
        if loosely:
            if unit == v.PARAGRAPH:
                out[at] = 10
                at += 1
            elif first[LOWER] <= unit < first[OPENING]:
                draw = _below(state, 20)
                shout = draw == 0
                if draw == 1:
                    out[at] = 32
                    at += 1
        for j in range(start[unit], start[unit + 1]):
            byte = blob[j]
            out[at] = byte - 32 if shout and 97 <= byte <= 122 else byte
            at += 1
    return at


@njit(cache=True, nogil=True)
def fill(seeds, own, lengths, zh, kinds, values, extras, first, sizes, blob, start, tokens, out, offsets):
    """Write one text per row into `out`, its ends into `offsets`; `values` become what was reached.

    Returns the rows written: fewer than asked when `out` is nearly full.
    """
    units = np.empty(MOST_UNITS + 64, np.int64)
    state = np.empty(1, np.uint64)
    at = np.int64(0)
    offsets[0] = 0
    for row in range(len(seeds)):
        state[0] = seeds[row]
        n, close = _compose(units, state, lengths[row], zh[row], first, start)
        state[0] = own[row]
        n, values[row] = _edit(
            kinds[row], values[row], extras[row], units, n, close, state, zh[row], first, sizes, start, tokens
        )
        size = np.int64(n)
        for i in range(n):
            size += start[units[i] + 1] - start[units[i]]
        if at + 2 * size > len(out):
            return row
        end = _copy(units, n, out, at, blob, start, first, kinds[row] == NORMALISED, state)
        if kinds[row] == TRUNCATED:
            end = at + min(np.int64((end - at) * values[row]), end - at - 20)
            while out[end] & 0xC0 == 0x80:
                end -= 1
        at = end
        offsets[row + 1] = at
    return len(seeds)


@njit(cache=True, nogil=True)
def fill_prompts(seeds, zh, first, sizes, blob, start, out, offsets):
    """Problem statements of about 300 bytes; as `fill`."""
    units = np.empty(1024, np.int64)
    state = np.empty(1, np.uint64)
    at = np.int64(0)
    offsets[0] = 0
    for row in range(len(seeds)):
        state[0] = seeds[row]
        n = 0
        for i in range(2 + _below(state, 4)):
            n = _sentence(units, n, state, zh[row], i == 0, first)
        if at + 32 * n > len(out):
            return row
        at = _copy(units, n, out, at, blob, start, first, False, state)
        offsets[row + 1] = at
    return len(seeds)
