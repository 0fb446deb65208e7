r"""Are two maths answers equal? The shape first, then the words, units and values of its parts, math-verify last.

Runs only in a worker process (workers.py): a parser fed by a model may take all time and memory there is.

1. Words, times, dates and number words have one canonical form (maths_text).
2. Both answers are taken apart (maths_structure): lists and sets agree in any order, tuples and intervals in order.
3. A part is read as a number with its unit (maths_units) and evaluated by our own strict reader (maths_values). Where
   that reads both sides, it knows more than math-verify: it accepts only identity, and rejects what is clearly different.
4. What it does not read goes to math-verify, whose acceptances get a numeric second opinion (maths_library).

Gold and answer are never swapped: a gold may be rounded, an answer may leave out the unit, not the other way round.
"""

import re
from fractions import Fraction

from tasks.verification import maths_library as library
from tasks.verification import maths_text as text
from tasks.verification.maths_arithmetic import AGREE, inexact, same
from tasks.verification.maths_normalise import normalise
from tasks.verification.maths_structure import Node, parse, split
from tasks.verification.maths_units import measure
from tasks.verification.maths_values import letters, value

Opinion = tuple[str, str, str]  # status, method, detail
OK: Opinion = ("ok", "maths/structure", "")
MIN_DIGITS = 4  # significant digits of a gold that may be a rounded value
MAX_TRIES = 12  # elements of a set that are matched in any order by more than their normal forms
_DECIMAL = re.compile(r"-?(\d*)\.(\d+)")
_CUT = re.compile(r"(-?\d*\.\d{3,})\s*(?:\.{2,}|\\[lc]?dots)")
_BASE = re.compile(r"([0-9A-Z]+)_\{?(?:\\text\{)?\s*(\d+|[a-z]+)\s*\}*")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "sixteen": 16}
_CLOCK_LIKE = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")
_CALL = re.compile(r"\\?[A-Za-z]+'?(?:_\w|_\{\w+\})?\([^()]*\)")


def compare(gold: str, answer: str) -> Opinion:
    """(status, method, detail) of an answer against the gold."""
    gold, answer = text.strip_lead(gold), text.strip_lead(answer)
    if normalise(gold) == normalise(answer):
        return "ok", "maths/normalised", ""
    if (opinion := _textual(gold, answer)) is not None:
        return opinion
    gold, answer = text.number_word(gold) or gold, text.number_word(answer) or answer
    if not library.balanced(normalise(answer)):
        return "unparsable", "maths/structure", "the braces do not balance"
    one, other = parse(gold), parse(answer)
    if one.kind == other.kind == "leaf" and not one.name and not other.name:
        return _leaf(gold, answer)  # as written: normal forms have lost their currency
    return _nodes(one, other)


def check_gold(gold: str) -> str | None:
    """None where a gold can be compared with, else what is wrong with it."""
    if not library.balanced(normalise(gold)):
        return "its braces do not balance"
    if text.words(gold) or text.number_word(gold) or text.nothing(gold) or text.everything(gold):
        return None
    if text.clock(gold) or text.date(gold):
        return None
    bad = next((leaf for leaf in _leaves(parse(gold)) if not _readable(leaf)), None)
    return None if bad is None else f"nothing reads {bad[:80]!r} in it"


def _leaves(node: Node):
    if not node.items:
        yield node.text
    for item in node.items:
        yield from _leaves(item)


def _readable(leaf: str) -> bool:
    if r"\infty" in leaf or text.words(leaf) or _BASE.fullmatch(leaf) or _CUT.fullmatch(leaf):
        return True
    number = measure(leaf).number
    return value(number) is not None or all(value(m) is not None for m in _members(leaf)) or bool(library.parse(number))


def _textual(gold: str, answer: str) -> Opinion | None:
    """Decides where the gold is words; None where it is maths."""
    for read, agree in ((text.clock, text.same_time), (text.date, text.same_date)):
        a, b = read(gold), read(answer)
        if a and b:
            return _said(agree(a, b), "maths/text")
        if a and (len(a) == 3 or a[3]):
            return _said(False, "maths/text", "no date or time of day")
    for read in (text.nothing, text.everything):
        if read(gold):
            return _said(read(answer), "maths/text")
    a, b = text.words(gold), text.words(answer)
    if a and (option := text.choice(answer)) and len(a) == 1:
        return _said(option[0].casefold() == a, "maths/text", "the option's letter counts")
    if option := text.choice(gold):
        if b and len(b) == 1:
            return _said(b == option[0].casefold(), "maths/text")
        same_letter = (other := text.choice(answer)) and other[0] == option[0]
        return ("ok", "maths/text", "") if same_letter else compare(option[1], answer)
    if a is None or text.number_word(gold):
        return None
    if b is None:
        return _said(False, "maths/text", "no words") if len(a) > 3 and "," not in gold and " and " not in a else None
    if a == b:
        return _said(True, "maths/text")
    if len(a) <= 2 and len(b) <= 2 and len(a) > 1:
        return _said(sorted(a) == sorted(b), "maths/text")  # xy is yx, and AF is FA
    if " and " in a or " or " in a:
        return None
    return _said(False, "maths/text")


def _said(true: bool, method: str, detail: str = "") -> Opinion:
    return ("ok", method, "") if true else ("wrong", method, detail)


def _nodes(gold: Node, answer: Node) -> Opinion:
    """Compares two shapes; parts by `_leaf`."""
    if gold.text == answer.text and not _conflict(gold, answer):
        return OK
    if gold.kind == answer.kind == "leaf":
        if gold.name and answer.name and _conflict(gold, answer):
            return _equations(f"{gold.name}={gold.text}", f"{answer.name}={answer.text}")
        if "=" in answer.text and gold.name or "=" in gold.text and answer.name:
            return _equations(*(f"{n.name}={n.text}" if n.name else n.text for n in (gold, answer)))
        return _leaf(gold.text, answer.text)
    if _conflict(gold, answer):
        return "wrong", "maths/structure", f"{answer.name} is not {gold.name}"
    many = ("list", "set", "union")
    if gold.kind == "set" and len(gold.items) == 1 and answer.kind not in many:
        return _nodes(gold.items[0], answer)
    if answer.kind == "set" and len(answer.items) == 1 and gold.kind not in many:
        return _nodes(gold, answer.items[0])
    if gold.kind in many and answer.kind in many:
        return _unordered(gold, answer)
    if gold.kind == "list" and answer.kind not in ("tuple", "matrix") and _one_value(gold):
        return _nodes(gold.items[0], answer)  # `0.09 or 9/100`
    if answer.kind == "list" and gold.kind not in ("tuple", "matrix") and _one_value(answer):
        return _nodes(gold, answer.items[0])
    return _ordered(gold, answer)


def _ordered(gold: Node, answer: Node) -> Opinion:
    pair = {gold.kind, answer.kind}
    if pair == {"interval"}:
        return _each(gold, answer) if gold.open == answer.open else _open()
    if pair == {"interval", "tuple"}:  # (1, 2) may be either
        interval = gold if gold.kind == "interval" else answer
        return _each(gold, answer) if interval.open == (True, True) else _open()
    if pair == {"matrix"}:
        return _each(gold, answer) if gold.width == answer.width else _open("matrices of different shapes")
    if pair == {"matrix", "tuple"}:
        matrix = gold if gold.kind == "matrix" else answer
        return _each(gold, answer) if matrix.width in (1, len(matrix.items)) else _open("a matrix is no tuple")
    if pair == {"ratio"}:
        opinion = _each(gold, answer)
        if opinion[0] == "ok" or any(_CLOCK_LIKE.fullmatch(n.text) for n in (gold, answer)):
            return opinion
        return _proportional(gold, answer)
    if pair == {"ratio", "leaf"}:
        fraction = next(n for n in (gold, answer) if n.kind == "ratio")
        if len(fraction.items) == 2 and not _CLOCK_LIKE.fullmatch(fraction.text):
            return _leaf(*(_quotient(n) if n.kind == "ratio" else n.text for n in (gold, answer)))
    if pair in ({"tuple"}, {"other-than"}) or pair == {"tuple", "list"}:
        return _each(gold, answer)
    if "leaf" in pair and not pair & {"list", "set", "tuple", "interval", "ratio"}:
        return library.compare(gold.text, answer.text)
    return "wrong", "maths/structure", f"{answer.kind} against {gold.kind}"


def _open(reason: str = "the ends are open and closed differently") -> Opinion:
    return "wrong", "maths/structure", reason


def _each(gold: Node, answer: Node) -> Opinion:
    """Part by part, in order; the worst opinion stands."""
    if len(gold.items) != len(answer.items):
        return "wrong", "maths/structure", f"{len(answer.items)} parts against {len(gold.items)}"
    opinion = OK
    for one, other in zip(gold.items, answer.items):
        opinion = _nodes(one, other)
        if opinion[0] != "ok":
            return opinion
    return opinion[0], opinion[1], ""


def _unordered(gold: Node, answer: Node) -> Opinion:
    """As many parts, each with a partner of its own."""
    golds, answers = _distinct(gold), _distinct(answer)
    if len(golds) != len(answers):
        return "wrong", "maths/structure", f"{len(answers)} elements against {len(golds)}"
    forms = [n.text for n in answers]
    left = [n for n in golds if n.text not in forms]
    rest = [n for n in answers if n.text not in {m.text for m in golds}]
    if len(left) > MAX_TRIES:
        return _each(Node("tuple", "", tuple(left)), Node("tuple", "", tuple(rest)))
    opinion: Opinion = OK
    for one in left:
        opinions = [_nodes(one, other) for other in rest]
        found = next((i for i, o in enumerate(opinions) if o[0] == "ok"), None)
        if found is None:
            return next((o for o in opinions if o[0] not in ("ok", "wrong")), _open(f"no partner for {one.text[:80]}"))
        opinion = opinions[found]
        del rest[found]
    return opinion[0], opinion[1], ""


def _distinct(node: Node) -> list[Node]:
    """The parts of a list (as often as they stand there), or the different parts of a set."""
    if node.kind == "list":
        return list(node.items)
    return list({n.text: n for n in node.items}.values())


def _one_value(node: Node) -> bool:
    """A list that says one value in several ways."""
    return all(_nodes(node.items[0], other)[0] == "ok" for other in node.items[1:])


def _conflict(gold: Node, answer: Node) -> bool:
    """`x = 5` against `y = 5`: both named, by different single letters, neither of them y or a function."""
    names = [re.sub(r"\(.*|[_'].*", "", n.name).lstrip("\\").casefold() for n in (gold, answer)]
    if "(" in gold.name + answer.name and "y" in names:
        return False
    return all(len(name) == 1 for name in names) and names[0] != names[1]


def _quotient(ratio: Node) -> str:
    return rf"\frac{{{ratio.items[0].text}}}{{{ratio.items[1].text}}}"


def _proportional(gold: Node, answer: Node) -> Opinion:
    if len(gold.items) != len(answer.items):
        return "wrong", "maths/structure", "ratios of different lengths"
    first = gold.items[0].text, answer.items[0].text
    for one, other in zip(gold.items[1:], answer.items[1:]):
        opinion = _leaf(rf"\frac{{{one.text}}}{{{first[0]}}}", rf"\frac{{{other.text}}}{{{first[1]}}}")
        if opinion[0] != "ok":
            return opinion
    return OK


def _leaf(gold: str, answer: str) -> Opinion:
    """Two single expressions, each perhaps with a unit."""
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
    if _BASE.fullmatch(a) or _BASE.fullmatch(b):
        return _bases(a, b)
    if "=" in a or "=" in b or r"\approx" in a + b:
        return _equations(a, b)
    return _expressions(a, b)


def _percent(gold: str, answer: str, gold_has_it: bool, kinds: set) -> Opinion:
    """`50%` is 50 and is 0.5; a unit contradicts it."""
    if kinds != {"percent", ""}:
        return "wrong", "maths/units", "percent against another unit"
    opinion = _expressions(gold, answer)
    if opinion[0] == "ok":
        return opinion
    return _expressions(f"({gold})/100", answer) if gold_has_it else _expressions(gold, f"({answer})/100")


def _bases(gold: str, answer: str) -> Opinion:
    """`52_8`: the digits count where the answer leaves out the base that the question asked for."""
    one, other = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
    if one and other:
        if one[1] == other[1] and one[2] == other[2]:
            return "ok", "maths/base", ""
        bases = [int(m[2]) if m[2].isdigit() else _BASES.get(m[2], 0) for m in (one, other)]
        try:
            return _said(int(one[1], bases[0]) == int(other[1], bases[1]), "maths/base")
        except ValueError:
            return "wrong", "maths/base", "no number in that base"
    return _said((one[1] if one else gold) == (other[1] if other else answer), "maths/base", "other digits")


def _expressions(gold: str, answer: str) -> Opinion:
    """By value where both are read, else by math-verify."""
    if gold == answer:
        return "ok", "maths/normalised", ""
    if infinite := {r"\infty", r"+\infty", r"-\infty"} & {gold, answer}:
        return _said(gold.lstrip("+") == answer.lstrip("+"), "maths/values", f"{infinite} on one side")
    if (cut := _CUT.fullmatch(gold)) or (cut := _CUT.fullmatch(answer)):
        gold, answer = (m[1] if (m := _CUT.fullmatch(x)) else x for x in (gold, answer))
        a, b = value(gold), value(answer)
        if a is not None and b is not None:
            near = abs(inexact(a) - inexact(b)) < 10.0 ** -len(cut[1].partition(".")[2])
            return _said(bool(near), "maths/values", "other digits")
    a, b = value(gold), value(answer)
    if a is None or b is None:
        return library.compare(gold, answer)
    if not letters(gold) | letters(answer):
        if same(a, b) or _rounded(gold, answer, a, b):
            return "ok", "maths/values", ""
        return "wrong", "maths/values", "different values"
    if _agree(gold, answer, "mixed"):
        return "ok", "maths/values", ""
    if _agree(gold, answer, "positive") or _agree(gold, answer, "integer"):  # |x| against x: it depends on the domain
        return library.compare(gold, answer, doubt=False)
    return "wrong", "maths/values", "different at some points"


def _agree(gold: str, answer: str, points: str) -> bool:
    pairs = [(value(gold, f"{points}{i}"), value(answer, f"{points}{i}")) for i in (0, 1)]
    return all(a is not None and b is not None and same(a, b) for a, b in pairs)


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
    return more and bool(gap <= Fraction(1, 2 * 10 ** len(cut[2])) + Fraction(1, 10**AGREE))


def _members(chain: str) -> list[str]:
    return [m.strip() for part in split(chain, "=") for m in split(part, r"\approx") if m.strip()]


def _equations(gold: str, answer: str) -> Opinion:
    """Equations and chains of them: `2x + 3y = 6`, `f(2) = 4 + 1 = 5`, `6 = 5`."""
    one, other = _members(gold), _members(answer)
    if len(other) > 1 and (_CALL.fullmatch(other[0]) or len(other) > 2 and letters(other[0])):
        other = other[1:]
    if len(other) > 1 and not any(letters(m) or value(m) is None for m in other):
        for left, right in zip(other, other[1:]):
            if rf"\approx{right}" not in answer and _expressions(left, right)[0] != "ok":
                return "wrong", "maths/second-opinion", f"the answer holds a false equation: {left} = {right}"
        other = other[:1]
    if len(other) == 1 and not any(letters(m) for m in one[1:]):
        return _best([_leaf(m, other[0]) for m in one if not letters(m)] or [_leaf(one[-1], other[0])])
    if len(one) == len(other) == 2:
        if _multiple(one, other):
            return "ok", "maths/values", ""
        return library.compare(gold, answer)
    if len(other) == 1 and len(one) == 2:
        return library.compare(gold, answer)
    return _expressions(one[-1], other[-1]) if len(one) < 2 else library.compare(gold, answer)


def _best(opinions: list[Opinion]) -> Opinion:
    return next((o for o in opinions if o[0] == "ok"), opinions[0])


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
