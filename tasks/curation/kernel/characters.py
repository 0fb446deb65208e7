"""What every code point is to the kernel, and the token and folding rules in Python.

Classes come from `unicodedata` (Unicode 14 in Python 3.11, the one version this project runs on; a test pins a
digest of the table) and from the scripts in tasks/responses.py.
"""

import functools
import re
import unicodedata

import numpy as np

from tasks.responses import CHARS_PER_WORD, SCRIPTS

SCRIPT_NAMES = (*SCRIPTS, "Other")  # script id of a letter = 1 + its place here; 0: no letter
JOINER = 31  # accents and joiners, which belong to the letter before them
SCRIPT, NFC, MARK, WHITE = 0x1F, 0x20, 0x40, 0x80  # the bits of a class
SIGNS = "+-*/^=<>%!"  # tokens where near-duplicates are sought: 3+4 is not 3-4
_JOINERS = "\u0300-\u036f\u200c\u200d"
_ASSIGNED = 0x33480  # no letter or mark is assigned above, but for the variation selectors of plane 14
_IDEOGRAPHS = ((0x3400, 0x4DC0), (0x4E00, 0x9FFD), (0xAC00, 0xD7A4), (0x20000, 0x2A6DE), (0x30000, 0x3134B))  # letters
_COMBINING_VOWELS = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))  # Hangul letters that compose with the one before


def _code_points(brackets: str) -> list[int]:
    """The code points of the inside of a regular expression's brackets (`a-z` ranges and single characters)."""
    found = []
    for first, last in re.findall(r"(.)-(.)|(?:.)", brackets, re.DOTALL):
        if first:
            found.extend(range(ord(first), ord(last) + 1))
    found.extend(ord(single) for single in re.sub(r".-.", "", brackets, flags=re.DOTALL))
    return found


def _changed_by_nfc() -> np.ndarray:
    """True for each code point that can differ under NFC, alone or after another one (a superset of NFC_QC != Yes)."""
    changed = np.zeros(0x110000, bool)
    changed[list(_COMBINING_VOWELS)] = True
    for code in _uneven():
        char = chr(code)
        parts = unicodedata.decomposition(char)
        if parts and parts[0] != "<":
            changed[code] |= unicodedata.normalize("NFC", char) != char
            if " " in parts:
                changed[int(parts.split()[1], 16)] = True  # what an accent is to its letter
        if unicodedata.combining(char):
            changed[code] = True
    changed[:0x80] = False
    return changed


def _uneven() -> list[int]:
    """Code points to look at one by one: those outside the long runs of letters."""
    edges = [0, *(edge for run in _IDEOGRAPHS for edge in run), _ASSIGNED]
    return [code for first, after in zip(edges[::2], edges[1::2]) for code in range(first, after)]


@functools.cache
def class_table() -> tuple[np.ndarray, np.ndarray]:
    """(pages int32 [0x1100], classes uint8 [pages * 256]): the class of `c` is `classes[pages[c >> 8] + (c & 255)]`."""
    classes = np.zeros(0x110000, np.uint8)
    for first, after in _IDEOGRAPHS:
        classes[first:after] = len(SCRIPT_NAMES)
    for code in _uneven():
        kind = unicodedata.category(chr(code))[0]
        if kind == "L":
            classes[code] = len(SCRIPT_NAMES)
        elif kind == "M":
            classes[code] = MARK
    classes[0xE0100:0xE01F0] = MARK
    for script, brackets in enumerate(SCRIPTS.values(), 1):
        codes = np.array(_code_points(brackets))
        classes[codes] = classes[codes] & ~np.uint8(SCRIPT) | script
    joiners = np.array(_code_points(_JOINERS))
    classes[joiners] = classes[joiners] & ~np.uint8(SCRIPT) | JOINER
    classes[[code for code in range(0x3001) if chr(code).isspace()]] = WHITE
    classes[_changed_by_nfc()] |= NFC
    pages: dict[bytes, int] = {}
    where = [256 * pages.setdefault(page.tobytes(), len(pages)) for page in classes.reshape(-1, 256)]
    return np.array(where, np.int32), np.frombuffer(b"".join(pages), np.uint8)


@functools.cache
def _letter_rules() -> tuple[np.ndarray, np.ndarray]:
    names = ("", *SCRIPT_NAMES)
    needed = np.array([2 if name in ("Latin", "Greek") else 1 for name in names] + [1] * (32 - len(names)), np.int64)
    spaceless = np.array([name in CHARS_PER_WORD for name in names] + [False] * (32 - len(names)))
    return needed, spaceless


def letter_rules() -> tuple[np.ndarray, np.ndarray]:
    """By script id: letters that make a word (int64 [32]; `x` and `π` are none), and is it written without spaces."""
    return _letter_rules()


@functools.cache
def _token_pattern(signs: bool) -> re.Pattern:
    pages, classes = class_table()
    kinds = classes[(pages[:, None] + np.arange(256)).reshape(-1)]
    separators = (kinds & (MARK | WHITE)) != 0
    separators[:0x80] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[0], separators.view(np.int8), [0]])))
    ranges = "".join(f"{chr(a)}-{chr(b - 1)}" for a, b in edges.reshape(-1, 2))
    return re.compile(rf"[A-Za-z0-9]+|[^\x00-\x7f{ranges}]" + (f"|[{re.escape(SIGNS)}]" if signs else ""))


def token_spans(text: str, signs: bool = False) -> list[tuple[int, int]]:
    """(start, end) of each token in code points: the kernel's rule, for reports.

    A token is a run of ASCII letters and digits, or one non-ASCII code point that is no white space or combining
    mark, or, with `signs`, one of `+ - * / ^ = < > % !` (near-duplicates count them, decontamination does not).
    """
    return [match.span() for match in _token_pattern(signs).finditer(text)]


def normalised(text: str) -> str:
    """NFC, runs of white space as one space, none at the ends, ASCII letters lower-cased."""
    return " ".join(unicodedata.normalize("NFC", text).split()).encode().lower().decode()  # bytes: ASCII alone
