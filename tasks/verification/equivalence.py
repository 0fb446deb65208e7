r"""Are two maths answers equal? The shape first, then the words, units and values of its parts, math-verify last.

Runs only in a worker process (workers.py): a parser fed by a model may take all time and memory there is.

1. Words, times, dates and number words have one canonical form (maths_text).
2. Both answers are taken apart (maths_structure): lists and sets agree in any order, tuples and intervals in order.
3. A part is read as a number with its unit (maths_units) and evaluated by our own strict reader (maths_values). Where
   that reads both sides, it knows more than math-verify: it accepts identity and rejects what clearly differs.
4. What it does not read goes to math-verify, whose acceptances get a numeric second opinion (maths_library).

Gold and answer are never swapped: a gold may be rounded, an answer may leave out the unit, not the other way round.
"""

import re
from fractions import Fraction

from tasks.verification import maths_leaf as leaves
from tasks.verification import maths_library as library
from tasks.verification import maths_text as text
from tasks.verification.maths_leaf import BASE, CUT, Opinion, said
from tasks.verification.maths_normalise import ascii_maths, integer, normalise
from tasks.verification.maths_structure import Node, bare, parse
from tasks.verification.maths_units import compound, measure
from tasks.verification.maths_values import value

OK: Opinion = ("ok", "maths/structure", "")
_SPELT = re.compile(r"[A-Za-z](?:[\s,>-]*[A-Za-z])+")
MAX_TRIES = 12  # elements of a set that are matched in any order by more than their normal forms
_CLOCK_LIKE = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")


def compare(gold: str, answer: str) -> Opinion:
    """(status, method, detail) of an answer against the gold."""
    gold, answer = (x if x.isascii() else ascii_maths(x) for x in map(text.strip_lead, (gold, answer)))
    if normalise(gold) == normalise(answer):
        return "ok", "maths/normalised", ""
    if (opinion := _textual(gold, answer)) is not None:
        return opinion
    gold, answer = text.number_word(gold) or gold, text.number_word(answer) or answer
    if not library.balanced(normalise(answer)):
        return "unparsable", "maths/structure", "the braces do not balance"
    if compound(gold) or compound(answer):
        return leaves.leaf(gold, answer)
    one, other = parse(gold), parse(answer)
    if one.kind == other.kind == "leaf" and not one.name and not other.name:
        return leaves.leaf(bare(gold), bare(answer))  # as written: normal forms have lost their currency
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
    if r"\infty" in leaf or text.words(leaf) or BASE.fullmatch(leaf) or CUT.fullmatch(leaf):
        return True
    number = measure(leaf).number
    return (
        value(number) is not None
        or all(value(m) is not None for m in leaves.members(leaf))
        or bool(library.parse(number))
    )


def _textual(gold: str, answer: str) -> Opinion | None:
    """Decides where the gold is words; None where it is maths."""
    for read, agree in ((text.clock, text.same_time), (text.date, text.same_date)):
        a, b = read(gold), read(answer)
        if a and b:
            return said(agree(a, b), "maths/text")
        if a and (len(a) == 3 or a[3]):
            return said(False, "maths/text", "no date or time of day")
    if (hour := text.clock(answer)) and integer(normalise(gold)) == hour[0] and not hour[1] | hour[2]:
        return said(True, "maths/text")  # `2` for 2:00 p.m.
    for read in (text.nothing, text.everything):
        if read(gold):
            return said(read(answer), "maths/text")
    a, b = text.words(gold), text.words(answer)
    if a and (option := text.choice(answer)) and len(a) == 1:
        return said(option[0].casefold() == a, "maths/text", "the option's letter counts")
    if option := text.choice(gold):
        if b and len(b) == 1:
            return said(b == option[0].casefold(), "maths/text")
        other = text.choice(answer)
        return said(other[0] == option[0], "maths/text") if other else compare(option[1], answer)
    if a is None or text.number_word(gold):
        return None
    if b != a and _SPELT.fullmatch(text.plain(answer)):  # B, C, A for BCA
        b = re.sub(r"[^a-z]", "", text.plain(answer).casefold())
    if b is None:
        return said(False, "maths/text", "no words") if len(a) > 3 and "," not in gold and " and " not in a else None
    if a == b:
        return said(True, "maths/text")
    if len(a) <= 2 and len(b) <= 2 and len(a) > 1:
        return said(sorted(a) == sorted(b), "maths/text")  # xy is yx, and AF is FA
    if " and " in a or " or " in a:
        return None
    return said(False, "maths/text")


def _nodes(gold: Node, answer: Node) -> Opinion:
    """Compares two shapes; parts by `_leaf`."""
    if gold.text == answer.text and not _conflict(gold, answer):
        return OK
    if gold.kind == answer.kind == "leaf":
        if gold.name and answer.name and _conflict(gold, answer):
            return leaves.equations(f"{gold.name}={gold.text}", f"{answer.name}={answer.text}")
        if "=" in answer.text and gold.name or "=" in gold.text and answer.name:
            return leaves.equations(*(f"{n.name}={n.text}" if n.name else n.text for n in (gold, answer)))
        return leaves.leaf(gold.text, answer.text)
    if _conflict(gold, answer):
        return "wrong", "maths/structure", f"{answer.name} is not {gold.name}"
    gold, answer = _joined(gold), _joined(answer)
    many = ("list", "set", "union")
    if gold.kind == "set" and len(_distinct(gold)) == 1 and answer.kind not in many:
        return _nodes(gold.items[0], answer)
    if answer.kind == "set" and len(_distinct(answer)) == 1 and gold.kind not in many:
        return _nodes(gold, answer.items[0])
    if gold.kind in many and answer.kind in many:
        return _unordered(gold, answer)
    if gold.kind == "list" and answer.kind not in ("tuple", "matrix") and _one_value(gold):
        return _nodes(gold.items[0], answer)  # `0.09 or 9/100`
    if answer.kind == "list" and gold.kind not in ("tuple", "matrix") and _one_value(answer):
        return _nodes(gold, answer.items[0])
    return _ordered(gold, answer)


def _ordered(gold: Node, answer: Node) -> Opinion:
    pair, both = {gold.kind, answer.kind}, ((gold, answer), (answer, gold))
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
            return leaves.leaf(*(_quotient(n) if n.kind == "ratio" else n.text for n in (gold, answer)))
    if pair == {"matrix", "list"} and gold.width == 1:
        return _each(gold, answer)
    if pair in ({"tuple"}, {"other-than"}) or pair == {"tuple", "list"}:
        return _each(gold, answer)
    if pair in ({"matrix", "leaf"}, {"union", "leaf"}) and any(_number_against_parts(*two) for two in both):
        return "wrong", "maths/structure", f"{answer.kind} against {gold.kind}"
    if "leaf" in pair and not pair & {"list", "set", "tuple", "interval", "ratio"}:
        return library.compare(gold.text, answer.text)
    return "wrong", "maths/structure", f"{answer.kind} against {gold.kind}"


def _number_against_parts(leaf: Node, parts: Node) -> bool:
    """A number against a matrix or a union of intervals, which math-verify takes 50 ms to tell apart."""
    shaped = parts.kind == "matrix" or all(item.kind in ("interval", "tuple") for item in parts.items)
    return leaf.kind == "leaf" and len(parts.items) > 1 and shaped and value(leaf.text) is not None


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
    left, rest = [], list(answers)
    for one in golds:
        twin = next((n for n in rest if n.text == one.text and n.kind == one.kind and not _conflict(one, n)), None)
        left += [one] if twin is None else []
        rest = [n for n in rest if n is not twin]
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


def _joined(node: Node) -> Node:
    """`x > -2 and x < 3` as one interval; as a union the two would be all numbers, which nobody writes so."""
    if node.kind != "list" or len(node.items) != 2 or {n.kind for n in node.items} != {"interval"}:
        return node
    low, high = sorted(node.items, key=lambda n: "infty" in n.items[0].text)
    if "infty" not in low.items[1].text or "infty" not in high.items[0].text or _conflict(low, high):
        return node
    a, b = value(low.items[0].text), value(high.items[1].text)
    if not isinstance(a, Fraction) or not isinstance(b, Fraction) or a >= b:
        return node
    return Node("interval", node.text, (low.items[0], high.items[1]), low.name, (low.open[0], high.open[1]))


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
        opinion = leaves.leaf(rf"\frac{{{one.text}}}{{{first[0]}}}", rf"\frac{{{other.text}}}{{{first[1]}}}")
        if opinion[0] != "ok":
            return opinion
    return OK
