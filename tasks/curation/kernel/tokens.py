"""Tokens of a text: runs of ASCII letters and digits, single signs, single non-ASCII characters; compiled.

Two walks without a branch that depends on a token: first where tokens start and end, 64 bytes at a time, then their
hashes. What is rarer, characters beyond ASCII and words beyond 8 letters, is put right afterwards.
"""

from tasks.curation.kernel.native import (
    ALL,
    KINDS,
    LOWER,
    MARK_BIT,
    ONE,
    SIGN,
    WHITE_BIT,
    WORD_STEP,
    U,
    compiled,
    decode,
    first_bytes,
    mix,
    read_tags,
)
from tasks.curation.kernel.vectors import load_word, ones, text_masks, trailing_zeros

SLACK = 64  # entries that lists of places need beyond the bytes of the text
S56, S63 = U(56), U(63)


@compiled
def list_both(begins, stops, base, starts, count, ends, stop):
    """Adds `base` plus the places of the set bits of either mask to its list; both lengths.

    Sixteen are written wherever there are more than eight: what does not count is written over by the next, and costs
    less than a loop whose end the processor cannot foresee.
    """
    more_starts, more_ends = ones(begins), ones(stops)
    most = max(more_starts, more_ends)
    for k in range(8):
        starts[count + k], ends[stop + k] = base + trailing_zeros(begins), base + trailing_zeros(stops)
        begins, stops = begins & (begins - ONE), stops & (stops - ONE)
    if most > 8:
        for k in range(8, 16):
            starts[count + k], ends[stop + k] = base + trailing_zeros(begins), base + trailing_zeros(stops)
            begins, stops = begins & (begins - ONE), stops & (stops - ONE)
        for k in range(16, most):
            starts[count + k], ends[stop + k] = base + trailing_zeros(begins), base + trailing_zeros(stops)
            begins, stops = begins & (begins - ONE), stops & (stops - ONE)
    return count + more_starts, stop + more_ends


@compiled
def find_tokens(text, hi, starts, ends, newlines, tags):
    """Lists `starts` and `ends` of what may be tokens in text[:hi], and newlines; books tags (see read_tags).

    The end of a non-ASCII character is that of its first byte. Returns (tokens, newlines, code points).
    """
    count, stop, lines, tails = 0, 0, 0, 0
    in_run, after_single = U(0), U(0)  # how the 64 bytes before ended
    for base in range(0, hi + 1, 64):  # the zeros after the text end its last token
        alnum, sign, _, lead, tail, newline, angle = text_masks(text, base)
        tails += ones(tail)
        newlines[lines] = base + trailing_zeros(newline)
        lines += newline != 0
        newline &= newline - ONE
        while newline:
            newlines[lines] = base + trailing_zeros(newline)
            lines += 1
            newline &= newline - ONE
        while angle:
            read_tags(text, base + trailing_zeros(angle), hi, tags)
            angle &= angle - ONE
        single = sign | lead
        before = alnum << ONE | in_run
        begins, stops = (alnum & ~before) | single, (before & ~alnum) | single << ONE | after_single
        count, stop = list_both(begins, stops, base, starts, count, ends, stop)
        in_run, after_single = alnum >> S63, single >> S63
    return count, lines, hi - tails


@compiled
def hash_run(text, at, size):
    """Letters and digits, lower-cased: Horner's rule over their big-endian 64-bit words, the last filled with zeros."""
    h, end = U(0), at + size
    while end - at > 8:
        h = h * WORD_STEP + (load_word(text, at) | LOWER)
        at += 8
    return h * WORD_STEP + first_bytes(load_word(text, at) | LOWER, end - at)


@compiled
def hash_special(text, special, count, pages, classes, starts, ends, tokens):
    """Hashes of the tokens that `special` lists; (classes seen or-ed, how many are marks or white: no tokens, end -1)."""
    seen, dropped = 0, 0
    for i in range(count):
        k = special[i]
        if text[starts[k]] < 128:
            tokens[k] = hash_run(text, starts[k], ends[k] - starts[k])
            continue
        value, _ = decode(text, starts[k])
        what = classes[pages[value >> 8] + (value & 255)]
        seen |= what
        tokens[k] = U(value)
        if what & (MARK_BIT | WHITE_BIT):
            ends[k] = -1
            dropped += 1
    return seen, dropped


@compiled
def drop(count, plains, starts, ends, tokens, plain):
    """Closes the gaps of what is no token; (tokens, plain tokens)."""
    kept, kept_plains, k = 0, 0, 0
    for old in range(count):
        is_plain = k < plains and plain[k] == old  # `plain` is written behind where it is read
        k += is_plain
        if ends[old] >= 0:
            tokens[kept], starts[kept] = tokens[old], starts[old]
            if is_plain:
                plain[kept_plains] = kept
                kept_plains += 1
            kept += 1
    return kept, kept_plains


@compiled
def scan(text, hi, pages, classes, lists):
    """Tokens, tags and newlines of text[:hi], which 128 zeros follow.

    `lists`: (tokens, starts, ends, plain, special, newlines, tags). Fills `tokens` (hashes), `starts` (their byte
    offsets), `plain` (which of them are no signs), `newlines` (byte offsets) and `tags` (see read_tags); `ends` and
    `special` are scratch. Returns (tokens, plain tokens, newlines, code points, classes seen, or-ed).
    """
    tokens, starts, ends, plain, special, newlines, tags = lists
    count, lines, chars = find_tokens(text, hi, starts, ends, newlines, tags)
    plains, specials = 0, 0
    for k in range(count):
        size = ends[k] - starts[k]
        word = load_word(text, starts[k])
        first = word >> S56
        sign = KINDS[first] == SIGN
        run = (word | LOWER) & (ALL << U((64 - 8 * size) & 63))
        tokens[k] = first if sign else run
        special[specials] = k
        specials += (size > 8) | (first > U(127))
        plain[plains] = k
        plains += not sign
    seen, dropped = hash_special(text, special, specials, pages, classes, starts, ends, tokens)
    if dropped:
        count, plains = drop(count, plains, starts, ends, tokens, plain)
    for k in range(count):
        tokens[k] = mix(tokens[k])
    return count, plains, lines, chars, seen
