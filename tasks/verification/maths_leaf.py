r"""Two single expressions, each perhaps with a unit, in a base, or as an equation: the parts that shapes are made of.

A part is evaluated by our own strict reader (maths_values). Where that reads both sides it accepts identity and rejects
what is clearly different; what it does not read goes to math-verify (maths_library).
"""

import re
from fractions import Fraction
from itertools import pairwise

from tasks.verification import maths_library as library
from tasks.verification import maths_text as text
from tasks.verification.maths_arithmetic import AGREE, inexact, precise, same
from tasks.verification.maths_normalise import normalise
from tasks.verification.maths_structure import split
from tasks.verification.maths_units import CHANGES, measure
from tasks.verification.maths_values import letters, value

Opinion = tuple[str, str, str]  # status, method, detail
MIN_DIGITS = 4  # significant digits of a gold that may be a rounded value
_DECIMAL = re.compile(r"-?(\d*)\.(\d+)")
CUT = re.compile(r"(-?\d*\.\d{3,})\s*(?:\.{2,}|\\[lc]?dots)")
BASE = re.compile(r"(\d[0-9A-Za-z]*)_\{?(?:\\text\{)?\s*(\d+|[a-z]+)\s*\}*")
_BASES = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "sixteen": 16,
}
_INTEGERS = frozenset("knmjNMK")  # letters that stand for integers by custom
_DOTS = re.compile(r"\\[lcv]?dots|\.\.\.")
_LIMIT = re.compile(r"\\(?:lim|sum|prod|int)(?![a-z])")
_HEDGED = re.compile(r"\\text\s*\{[^{}]*" + CHANGES, re.IGNORECASE)
_CALL = re.compile(r"\\?[A-Za-z]+'?(?:_\w|_\{\w+\})?\([^()]*\)")


def said(true: bool, method: str, detail: str = "") -> Opinion:
    return ("ok", method, "") if true else ("wrong", method, detail)


def leaf(gold: str, answer: str) -> Opinion:
    """Two single expressions, each perhaps with a unit."""
    gold, answer = (text.scaled(text.number_word(x) or x) for x in (gold, answer))
    one, other = measure(gold), measure(answer)
    a, b = normalise(one.number), normalise(other.number)
    if not other.kind and not one.kind and value(b) is None or letters(b) - letters(a) and not letters(a):
        loose = measure(answer, loose=True)
        if loose != other and value(normalise(loose.number)) is not None:
            other, b = loose, normalise(loose.number)
    kinds = {one.kind, other.kind}
    if "percent" in kinds and len(kinds) == 2:
        return _percent(a, b, one.kind == "percent", kinds)
    if kinds == {"angle", "radians"} or kinds == {"angle", ""} and r"\pi" in (b if one.kind else a):
        a, b = (rf"({x})\cdot\pi/180" if m.kind == "angle" else x for x, m in ((a, one), (b, other)))
    elif "" not in kinds and len(kinds) == 2 and kinds != {"mass", "sterling"}:
        return "wrong", "maths/units", f"{other.kind} against {one.kind}"
    elif len(kinds) == 1 and one.factor != other.factor:
        a, b = (rf"({x})\cdot{m.factor.numerator}/{m.factor.denominator}" for x, m in ((a, one), (b, other)))
    if BASE.fullmatch(a) or BASE.fullmatch(b):
        return _bases(a, b)
    if len(members(a)) > 1 or len(members(b)) > 1:
        return equations(a, b)
    return _expressions(a, b)


def _percent(gold: str, answer: str, gold_has_it: bool, kinds: set) -> Opinion:
    """`50%` is 50 and is 0.5 (but `0.5%` is not 0.5); a unit contradicts it."""
    if kinds != {"percent", ""}:
        return "wrong", "maths/units", "percent against another unit"
    size = value(answer)
    if gold_has_it or isinstance(size, Fraction) and abs(size) >= 1:
        opinion = _expressions(gold, answer)
        if opinion[0] == "ok":
            return opinion
    return _expressions(f"({gold})/100", answer) if gold_has_it else _expressions(gold, f"({answer})/100")


def _bases(gold: str, answer: str) -> Opinion:
    """`52_8`: the digits count where the answer leaves out the base that the question asked for."""
    one, other = BASE.fullmatch(gold), BASE.fullmatch(answer)
    if one and other:
        if one[1] == other[1] and one[2] == other[2]:
            return "ok", "maths/base", ""
        bases = [int(m[2]) if m[2].isdigit() else _BASES.get(m[2], 0) for m in (one, other)]
        try:
            return said(int(one[1], bases[0]) == int(other[1], bases[1]), "maths/base")
        except ValueError:
            return "wrong", "maths/base", "no number in that base"
    return said((one[1] if one else gold) == (other[1] if other else answer), "maths/base", "other digits")


def _expressions(gold: str, answer: str) -> Opinion:
    """By value where both are read, else by math-verify."""
    if gold == answer:
        return "ok", "maths/normalised", ""
    if infinite := {r"\infty", r"+\infty", r"-\infty"} & {gold, answer}:
        return said(gold.lstrip("+") == answer.lstrip("+"), "maths/values", f"{infinite} on one side")
    if (cut := CUT.fullmatch(gold)) or (cut := CUT.fullmatch(answer)):
        was, (gold, answer) = (gold, answer), (m[1] if (m := CUT.fullmatch(x)) else x for x in (gold, answer))
        a, b = value(gold), value(answer)
        if a is not None and b is not None:
            near = _continues(a, b, cut) if CUT.fullmatch(was[0]) else _continues(b, a, cut)
            return said(near, "maths/values", "other digits")
    a, b = value(gold), value(answer)
    if b is None and isinstance(a, Fraction) and not letters(gold) and (number := text.only_number(answer)):
        return said(same(a, value(normalise(number))), "maths/sentence", "another number")
    if b is None and (_HEDGED.search(answer) or _DOTS.search(answer)):
        return "unparsable", "maths/text", "the answer holds more than one statement"
    if (r"\infty" in answer) > (r"\infty" in gold) and not _LIMIT.search(answer):
        return "wrong", "maths/values", "infinite"
    if a is None or b is None:
        return library.compare(gold, answer)
    if not letters(gold) | letters(answer):
        if same(a, b) or _rounded(gold, answer, a, b):
            return "ok", "maths/values", ""
        return "wrong", "maths/values", "different values"
    if _agree(gold, answer, "mixed"):
        return "ok", "maths/values", ""
    if _agree(gold, answer, "integer", 4) and letters(gold) | letters(answer) <= _INTEGERS:
        return "ok", "maths/values", "equal for integers"
    if _agree(gold, answer, "positive"):  # |x| against x: it depends on the domain
        return library.compare(gold, answer, doubt=False)
    return "wrong", "maths/values", "different at some points"


@precise
def _continues(short, full, cut: re.Match) -> bool:
    """Whether `full` begins with the digits of `short`, which dots cut off."""
    places = len(cut[1].partition(".")[2])
    gap = inexact(full) - inexact(short)
    return bool(0 <= (gap if short >= 0 else -gap) < inexact(Fraction(1, 10**places)))


def _agree(gold: str, answer: str, points: str, times: int = 2) -> bool:
    pairs = [(value(gold, f"{points}{i}"), value(answer, f"{points}{i}")) for i in range(times)]
    return all(a is not None and b is not None and same(a, b) for a, b in pairs)


@precise
def _rounded(gold: str, answer: str, a, b) -> bool:
    """Decimals that agree to six places, as math-verify has it, or an answer that rounds to a decimal gold.

    A gold of MIN_DIGITS significant digits may be a rounded value: an exact answer, or one with at least three digits
    more, is right where it rounds to it. A rounded answer to an exact gold is not.
    """
    a, b = inexact(a), inexact(b)
    if isinstance(a - b, complex) or getattr(a - b, "imag", 0):
        return False
    gap, size = abs(a - b), max(abs(a), abs(b))
    if "." in gold + answer and gap <= 0.5e-6 and gap <= 1e-4 * size:
        return True
    if not (cut := _DECIMAL.fullmatch(gold)) or len((cut[1] + cut[2]).lstrip("0")) < MIN_DIGITS:
        return False
    fine = _DECIMAL.fullmatch(answer)
    more = len(fine[2]) - len(cut[2]) >= 3 if fine else "." not in answer
    return more and bool(gap <= inexact(Fraction(1, 2 * 10 ** len(cut[2])) + Fraction(1, 10**AGREE)))


def members(chain: str) -> list[str]:
    return [m.strip() for part in split(chain, "=") for m in split(part, r"\approx") if m.strip()]


def equations(gold: str, answer: str) -> Opinion:
    """Equations and chains of them: `2x + 3y = 6`, `f(2) = 4 + 1 = 5`, `6 = 5`."""
    one, other = members(gold), members(answer)
    if len(other) > 1 and (_CALL.fullmatch(other[0]) or len(other) > 2 and letters(other[0])):
        other = other[1:]
    if len(other) > 1 and not any(letters(m) or value(m) is None for m in other):
        for left, right in pairwise(other):
            if rf"\approx{right}" not in answer and _expressions(left, right)[0] != "ok":
                return "wrong", "maths/second-opinion", f"the answer holds a false equation: {left} = {right}"
        other = other[:1]
    if len(other) == 1 and not any(letters(m) for m in one[1:]):
        return _best([leaf(m, other[0]) for m in one if not letters(m)] or [leaf(one[-1], other[0])])
    if len(one) == len(other) == 2:
        if _multiple(one, other):
            return "ok", "maths/values", ""
        return library.compare(gold, answer)
    if len(other) == 1 and len(one) == 2:
        return library.compare(gold, answer)
    return _expressions(one[-1], other[-1]) if len(one) < 2 else library.compare(gold, answer)


def _best(opinions: list[Opinion]) -> Opinion:
    return next((o for o in opinions if o[0] == "ok"), opinions[0])


@precise
def _multiple(one: list[str], other: list[str]) -> bool:
    """Whether two equations are the same up to a constant factor."""
    ratios = []
    for point in ("mixed0", "mixed1", "positive0"):
        sides = [value(side, point) for side in (*one, *other)]
        if None in sides:
            return False
        a, b, c, d = map(inexact, sides)
        if same(a, b) or same(c, d):
            return False
        ratios.append((a - b) / (c - d))
    return same(ratios[0], ratios[1]) and same(ratios[1], ratios[2])
