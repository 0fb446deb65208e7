"""What reasoning-gym's scorers accept and should not: looked at again, each with its reason.

Found by giving every task's scorer golds with something added, cut or swapped, and answers that say nothing
(reasoning-gym 0.1.25). Each function gives the reason why an accepted answer is wrong, or None.
"""

import ast
import json
import math
import re
from collections.abc import Callable
from fractions import Fraction

_OR = re.compile(r"\bor\b", re.IGNORECASE)
_MORE = re.compile(r"[.,;]?\s*\n\s*\w|[.,;]?\s+\S*\d")  # a further line, a further number; not `20 apples`


def puzzle24(answer: str, entry: dict) -> str | None:
    """The scorer neither asks whether the numbers are the given ones nor for a whole 24: it truncates."""
    used = sorted(int(n) for n in re.findall(r"\d+", answer))
    given = sorted(entry["metadata"]["numbers"])
    if used != given:
        return f"it uses the numbers {used}, given are {given}"
    value = _value(ast.parse(answer.strip(), mode="eval").body)
    return None if value == 24 else f"it is {float(value):g}, not 24"


def number_sorting(answer: str, entry: dict) -> str | None:
    """The scorer lets every number be off by one."""
    found, wanted = ([float(n) for n in json.loads(text.replace("'", '"'))] for text in (answer, entry["answer"]))
    return None if found == wanted else f"the numbers are not those of {entry['answer']}"


def word_sorting(answer: str, entry: dict) -> str | None:
    """The scorer does not see words behind the last one."""
    found, wanted = len(answer.split(",")), len(entry["metadata"]["sorted_words"])
    return None if found == wanted else f"{found} words, not {wanted}"


def game_of_life_halting(answer: str, entry: dict) -> str | None:
    """The scorer compares `bool(text)` with `bool(text)`: every answer that is not empty is right to it."""
    return None if answer.strip(" .").casefold() == entry["answer"].casefold() else f"it is not {entry['answer']}"


def coin_flip(answer: str, entry: dict) -> str | None:
    """The scorer gives full marks for a prefix of the digits: `0` for 0.234375."""
    gap = abs(Fraction(answer.replace(",", "")) - Fraction(entry["answer"].replace(",", "")))
    return None if gap <= Fraction(1, 10_000) else f"off by {float(gap):.3g}"


def complex_arithmetic(answer: str, entry: dict) -> str | None:
    """The scorer takes `nan` for right: min(1, nan) is 1."""
    return "it is no finite number" if re.search(r"nan|inf", answer, re.IGNORECASE) else None


def gsm_symbolic(answer: str, entry: dict) -> str | None:
    """The scorer reads the first number and drops its sign: `-20`, `20 or 574` for 20."""
    numbers = {float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", answer)}
    return None if numbers == {float(entry["answer"])} else f"the numbers in it are {sorted(numbers)}"


def advanced_geometry(answer: str, entry: dict) -> str | None:
    """The scorer reads the first two coordinates of any number of points."""
    return "more than one point" if answer.count(",") > 1 else None


def more_than_the_gold(answer: str, entry: dict) -> str | None:
    """Of any task: the gold with further words or lines behind it, or an `or`, which scorers read past."""
    gold = entry.get("answer")
    if not isinstance(gold, str) or not gold.strip():
        return None
    if _OR.search(answer) and not _OR.search(gold):
        return "it offers more than one answer"
    rest = answer.strip().removeprefix(gold.strip())
    return "there is more behind the answer" if rest != answer.strip() and _MORE.match(rest) else None


LOOKED_AT_AGAIN: dict[str, Callable[[str, dict], str | None]] = {
    check.__name__: check
    for check in (
        puzzle24, number_sorting, word_sorting, game_of_life_halting, coin_flip, complex_arithmetic, gsm_symbolic,
        advanced_geometry,
    )
}  # fmt: skip


def _value(node: ast.expr) -> Fraction:
    """An arithmetic expression, exactly; a power that is no small integer is nan, which equals nothing."""
    if isinstance(node, ast.Constant):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand) if isinstance(node.op, ast.USub) else _value(node.operand)
    a, b = _value(node.left), _value(node.right)
    if isinstance(node.op, ast.Pow):
        return a**b if b.denominator == 1 and abs(b) <= 64 else math.nan
    if isinstance(node.op, ast.FloorDiv):
        return Fraction(a // b)
    return {ast.Add: a.__add__, ast.Sub: a.__sub__, ast.Mult: a.__mul__, ast.Div: a.__truediv__}[type(node.op)](b)
