r"""math-verify on one expression, and a numeric second opinion on everything it accepts.

math-verify 0.9 accepts some wrong answers (tests/verification/errata). What stands against that here:
- it is given one expression, never a text to search, so two boxed answers cannot become a set;
- spellings that its parser drops without a word (`\sqrt(2)`, `\mathrm{e}`, `\mathbf{x}`) are rewritten first;
- equality of two strings it could not parse is no equality;
- an accepted pair is evaluated numerically, at random points where there are variables; a clear difference, or a
  false equation such as `6=5` in the prediction, turns the verdict.
"""

import random
import re
from functools import lru_cache

POINTS = 3  # evaluations of a pair with variables
MAX_NESTING = 12
RELATIVE = 2e-3  # math-verify rounds to six decimals, which makes every two tiny numbers equal
ABSOLUTE = 1e-5
_ROOT = re.compile(r"\\sqrt\s*(\[[^\]]*\])?\s*\(([^()]*)\)")
_MIXED = re.compile(r"([+-]?\d+)\s+(\d+)\s*/\s*(\d+)")
_OPERATOR = re.compile(r"\s*([+\-*/=^])\s*")  # ` + b + c` reads as units otherwise
_FUNCTION = re.compile(r"(\\(?:sin|cos|tan|cot|sec|csc|ln|log)(?:\^\{?\d\}?)?)\s*([A-Za-z])(?![A-Za-z])")


def spell(answer: str) -> str:
    """A normalised answer spelt the way math-verify's parser reads it in full."""
    answer = _ROOT.sub(lambda m: rf"\sqrt{m[1] or ''}{{{m[2]}}}", answer.strip())
    answer = _MIXED.sub(r"\1\\frac{\2}{\3}", answer) if _MIXED.fullmatch(answer) else answer
    answer = _FUNCTION.sub(r"\1{\2}", _OPERATOR.sub(r"\1", answer))
    return re.sub(r"^\\approx(?![A-Za-z])\s*|\\?%\s*$", "", answer).rstrip(".,")


def nesting(answer: str) -> int:
    """How deep its brackets go: math-verify's parser takes exponential time in it."""
    depth = deepest = 0
    for c in answer:
        depth += (c in "([{") - (c in ")]}")
        deepest = max(deepest, depth)
    return deepest


def balanced(answer: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", answer):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


@lru_cache(maxsize=512)
def parse(answer: str) -> tuple:
    """sympy expressions of one answer; empty where the parser makes nothing of it."""
    import logging

    from math_verify import LatexExtractionConfig
    from math_verify import parse as math_parse
    from sympy import Basic, MatrixBase

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    if not balanced(answer) or nesting(answer) > MAX_NESTING:
        return ()
    config = [LatexExtractionConfig(boxed_match_priority=0)]
    found = math_parse(rf"\boxed{{{spell(answer)}}}", extraction_config=config, parsing_timeout=None)
    if not all(balanced(x) for x in found if isinstance(x, str)):
        return ()  # what it read is only a part: its normaliser takes some letters for units and cuts there
    return tuple(x for x in found if isinstance(x, (Basic, MatrixBase)))


def compare(gold: str, answer: str, doubt: bool = True) -> tuple[str, str, str]:
    """(status, method, detail) of one expression; the order of the arguments matters to math-verify.

    `doubt`: ask for the second opinion (without it: where the two are known to differ at some points on purpose).
    """
    from math_verify import verify

    golds, answers = parse(gold), parse(answer)
    if not golds:
        return "infra", "maths/math-verify", "the gold does not parse"
    if not answers:
        return "unparsable", "maths/math-verify", "the answer does not parse"
    if not verify(list(golds), list(answers), timeout_seconds=None):
        return "wrong", "maths/math-verify", ""
    if doubt and (reason := contradiction(golds[0], answers[0])):
        return "wrong", "maths/second-opinion", reason
    return "ok", "maths/math-verify", ""


def contradiction(gold, answer) -> str | None:
    """Why two expressions that math-verify calls equal are not, or None."""
    from sympy import Eq, Integral, Limit, Product, Sum, nan, oo, preorder_traversal, zoo

    if hasattr(answer, "free_symbols"):
        for part in preorder_traversal(answer):
            if isinstance(part, Eq) and not part.free_symbols and _differ(part.lhs, part.rhs):
                return f"the answer holds a false equation: {part.lhs} = {part.rhs}"
    infinite = [hasattr(x, "has") and x.has(oo, zoo, nan) for x in (gold, answer)]
    if infinite == [False, True] and not answer.has(Sum, Product, Integral, Limit):
        return "the answer is not finite"
    return _truth(gold, answer) or _contradiction(_value(gold), _value(answer))


def _truth(gold, answer) -> str | None:
    """Two inequalities, or two equations, that hold at different points."""
    from sympy import Eq, default_sort_key
    from sympy.core.relational import Relational

    if not (isinstance(gold, Relational) and isinstance(answer, Relational)):
        return None
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=default_sort_key)
    rng = random.Random(0)
    for _ in range(8 * POINTS):
        point = {s: rng.uniform(-9, 9) for s in symbols}
        if isinstance(gold, Eq) and isinstance(answer, Eq):
            if _off_the_curve(gold, answer, symbols, point) or _off_the_curve(answer, gold, symbols, point):
                return "the equations have different solutions"
        elif {gold.subs(point), answer.subs(point)} == {True, False}:
            return "the relations hold at different points"
    return None


def _off_the_curve(one, other, symbols, point) -> bool:
    """Whether a solution of the first equation clearly does not solve the second."""
    from sympy import nsolve

    left, start = symbols[-1], point[symbols[-1]]
    fixed = {s: point[s] for s in symbols[:-1]}
    try:
        root = nsolve((one.lhs - one.rhs).subs(fixed), left, start, verify=True)
    except (ValueError, TypeError, ZeroDivisionError, AttributeError, KeyError):
        return False
    residual = _number((other.lhs - other.rhs).subs(fixed | {left: root}))
    return residual is not None and abs(residual) > 1e-4


def _contradiction(gold, answer) -> str | None:
    from sympy import Expr, FiniteSet, Tuple, default_sort_key

    if isinstance(gold, FiniteSet) and isinstance(answer, FiniteSet):
        if len(gold) != len(answer):
            return f"{len(gold)} elements against {len(answer)}"
        gold, answer = (Tuple(*sorted(map(_value, s), key=_order)) for s in (gold, answer))
    if isinstance(gold, Tuple) and isinstance(answer, Tuple):
        if len(gold) != len(answer):
            return f"{len(gold)} elements against {len(answer)}"
        return next((r for a, b in zip(gold, answer) if (r := _contradiction(_value(a), _value(b)))), None)
    if not (isinstance(gold, Expr) and isinstance(answer, Expr)):
        return None
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=default_sort_key)
    rng = random.Random(0)
    for _ in range(POINTS if symbols else 1):
        point = {s: rng.uniform(0.3, 2.7) for s in symbols}
        if _differ(gold.subs(point), answer.subs(point)):
            return "numerically different" + (
                f" at {', '.join(f'{s}={v:.3f}' for s, v in point.items())}" if point else ""
            )
    return None


def _value(x):
    """The right-hand side of an assignment such as `x = 5`, else the expression itself."""
    from sympy import Eq

    return x.rhs if isinstance(x, Eq) and x.lhs.is_Symbol else x


def _order(x) -> tuple:
    value = _number(x)
    return (value is None, (value.real, value.imag) if value is not None else (0, 0), str(x))


def _number(x) -> complex | None:
    try:
        value = complex(x.doit().evalf(20))
    except (TypeError, ValueError, AttributeError, OverflowError, ZeroDivisionError):
        return None
    return value if abs(value) < float("inf") else None  # nan and inf compare false


def _differ(a, b) -> bool:
    """True only where both are numbers and clearly not the same."""
    a, b = _number(a), _number(b)
    if a is None or b is None:
        return False
    gap, size = abs(a - b), max(abs(a), abs(b))
    return gap > ABSOLUTE * max(1.0, size) or gap > RELATIVE * size
