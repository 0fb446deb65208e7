r"""The value of a maths expression: a small reader of LaTeX and plain notation that knows when it does not know.

The second opinion beside math-verify, written independently of it. It accepts a strict grammar (numbers, letters,
+ - * / ^ !, fractions, roots, binomials, elementary functions, absolute values, floors) and raises Unclear on
anything else and on anything that people read in two ways (`1/2x`, `3\frac{7}{2}`, a bare `\log` that must be told
from `\ln`). Rational values are exact (Fraction); the rest has 60 digits, so agreement to 40 is identity.
Every number it makes is bounded, so that it cannot run away: power towers and big factorials are Unclear.

Expressions with letters are read at fixed pseudo-random points, which is a proof of identity for all practical
purposes (Schwartz–Zippel), and needs no computer algebra.
"""

import re
from fractions import Fraction
from functools import lru_cache

from tasks.verification.maths_arithmetic import (
    Unclear,
    absolute,
    add,
    apply,
    binomial,
    div,
    factorial,
    mul,
    neg,
    pi,
    power,
    precise,
    root,
    rounded,
    sample,
)  # fmt: skip

MAX_DEPTH = 40
_NUMBER = re.compile(r"\d+(?:\.(?!\.)\d*)?|\.\d+")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_NAME = re.compile(r"(?:sqrt|arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|log|exp|pi)(?![a-z])")
_SPACE = re.compile(r"\s*")
_REPEATING = re.compile(r"\\overline\s*\{(\d+)\}")
_MIXED = re.compile(r"\\frac\{(\d+)\}\{(\d+)\}")
_MIXED_PLAIN = re.compile(r"([+-]?)(\d+)(?: | and )(\d+)/(\d+)")
_GREEK = set(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon "
    "phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell".split()
)
_FUNCTIONS = set("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp".split())
_ENDS = set("+-*/=<>,;)]}|&")
_CLOSING = (r"\rfloor", r"\rceil", r"\rangle", r"\}")


@lru_cache(maxsize=4096)
def value(text: str, point: str = "mixed0"):
    """The value of a normalised expression (Fraction, mpf or mpc), or None where it is unclear."""
    if match := _MIXED_PLAIN.fullmatch(text):
        text = f"{match[1]}{match[2]}\\frac{{{match[3]}}}{{{match[4]}}}"
    try:
        return Reader(text, point).whole()
    except (Unclear, ZeroDivisionError, OverflowError, ValueError, ArithmeticError, RecursionError):
        return None


@lru_cache(maxsize=4096)
def letters(text: str) -> frozenset[str]:
    """Names of the variables of an expression; empty also where it is unclear."""
    reader = Reader(text, "mixed0")
    try:
        reader.whole()
    except (Unclear, ArithmeticError, ValueError, RecursionError):
        return frozenset()
    return frozenset(reader.letters)


class Reader:
    """Recursive descent over one expression at one point; `whole` is the way in."""

    def __init__(self, text: str, point: str):
        self.text, self.point, self.at, self.depth = text, point, 0, 0
        self.letters: set[str] = set()

    @precise
    def whole(self):
        out = self.sum()
        if self.peek():
            raise Unclear(self.text[self.at :])
        return out

    def peek(self) -> str:
        self.at = _SPACE.match(self.text, self.at).end()
        return self.text[self.at : self.at + 1]

    def take(self, mark: str) -> bool:
        self.peek()
        end = self.at + len(mark)
        found = self.text.startswith(mark, self.at) and not (mark[0] == "\\" and self.text[end : end + 1].isalpha())
        self.at = end if found else self.at
        return found

    def need(self, mark: str) -> None:
        if not self.take(mark):
            raise Unclear(f"{mark} expected")

    def sum(self):
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unclear("too deep")
        sign = self.signs()
        out = self.product()
        out = out if sign > 0 else neg(out)
        while self.peek() in ("+", "-") and self.peek():
            sign = self.signs()
            term = self.product()
            out = add(out, term if sign > 0 else neg(term))
        self.depth -= 1
        return out

    def signs(self) -> int:
        sign = 1
        while (c := self.peek()) in ("+", "-") and c:
            sign *= -1 if c == "-" else 1
            self.at += 1
        return sign

    def product(self):
        out, slashed = None, False
        while True:
            c = self.peek()
            if out is None:
                if not c or c in _ENDS - {"|"}:
                    raise Unclear("nothing where a number should be")
                out = self.power()
            elif self.text.startswith("**", self.at):
                raise Unclear("a power of a power")
            elif self.take("*") or self.take(r"\cdot") or self.take(r"\times"):
                out, slashed = mul(out, self.signed()), False
            elif self.take("/"):
                out, slashed = div(out, self.signed()), True
            elif not c or c in _ENDS or self.text.startswith(_CLOSING, self.at):
                return out
            elif slashed:
                raise Unclear("a product without a sign after a slash")
            elif c in "0123456789.":
                raise Unclear("a number behind something without a sign")
            else:
                out = mul(out, self.power())

    def signed(self):
        sign = self.signs()
        out = self.power()
        return out if sign > 0 else neg(out)

    def power(self):
        base = self.postfix(self.atom())
        if self.take("^") or (self.take("**")):
            if self.take(r"\circ") or self.take(r"{\circ}"):
                return mul(base, div(pi(), Fraction(180)))
            if self.peek() == "'":
                raise Unclear("a derivative")
            sign = self.signs()
            exponent = self.power()
            return self.postfix(power(base, exponent if sign > 0 else neg(exponent)))
        return base

    def postfix(self, out):
        while self.peek() == "!":
            self.at += 1
            if self.peek() in ("!", "="):
                raise Unclear("a double factorial")
            out = factorial(out)
        if self.peek() == "'":
            raise Unclear("a derivative")
        return out

    def atom(self):
        c = self.peek()
        if match := _NUMBER.match(self.text, self.at):
            return self.number(match)
        if c in ("(", "[", "{"):
            self.at += 1
            out = self.sum()
            self.need({"(": ")", "[": "]", "{": "}"}[c])
            return out
        if c == "|":
            self.at += 1
            out = self.sum()
            self.need("|")
            return absolute(out)
        if match := _COMMAND.match(self.text, self.at):
            self.at = match.end()
            return self.command(match[0][1:])
        if match := _NAME.match(self.text, self.at):
            self.at = match.end()
            return self.command(match[0])
        if c.isascii() and c.isalpha():
            self.at += 1
            return self.letter(c)
        raise Unclear(c)

    def number(self, match: re.Match):
        self.at = match.end()
        digits = match[0]
        if repeating := _REPEATING.match(self.text, self.at):
            if "." not in digits:
                raise Unclear("a bar over an integer")
            self.at, block = repeating.end(), repeating[1]
            places = len(digits.partition(".")[2])
            return Fraction(digits.rstrip(".")) + Fraction(int(block), (10 ** len(block) - 1) * 10**places)
        if self.peek() == "_":
            raise Unclear("a number in another base")
        out = Fraction(digits.rstrip("."))
        if "." not in digits and (part := _MIXED.match(self.text, self.at)):
            if int(part[1]) >= int(part[2]):
                raise Unclear("an integer before an improper fraction")
            self.at = part.end()
            out += Fraction(int(part[1]), int(part[2]))
        return out

    def group(self):
        """The argument of a command: a group in braces, or one digit, letter or command."""
        c = self.peek()
        if c == "{":
            self.at += 1
            out = self.sum()
            self.need("}")
            return out
        if c.isdigit():
            self.at += 1
            return Fraction(int(c))
        if c == "\\" or c.isalpha():
            return self.atom()
        raise Unclear("a group expected")

    def command(self, name: str):
        if name == "frac":
            return div(self.group(), self.group())
        if name == "binom":
            return binomial(self.group(), self.group())
        if name == "sqrt":
            index = Fraction(2)
            if self.take("["):
                index = self.sum()
                self.need("]")
            return root(
                self.atom() if self.peek() in ("(", "{", "\\") or self.peek().isalnum() else self.group(), index
            )
        if name == "pi":
            return pi()
        if name in ("lfloor", "lceil"):
            out = self.sum()
            self.need(r"\r" + name[1:])
            return rounded(out, name == "lceil")
        if name in _FUNCTIONS:
            return self.function(name)
        if name == "Gamma" and self.peek() == "(":
            raise Unclear("the gamma function")
        if name in _GREEK:
            return self.letter(name)
        raise Unclear(name)

    def function(self, name: str):
        base, exponent = None, None
        if name == "log" and self.take("_"):
            base = self.group()
        if self.take("^"):
            sign = self.signs()
            exponent = self.group() if sign > 0 else neg(self.group())
        if name == "log" and base is None and self.take("_"):
            base = self.group()
        out = apply(name, self.argument(), base)
        if exponent is None:
            return out
        if exponent == -1:
            raise Unclear("an inverse function or a reciprocal")
        return power(out, exponent)

    def argument(self):
        """What a function is applied to: a bracket, or the product of numbers and letters that follows."""
        if self.peek() in ("(", "{", "[", "|"):
            inside = self.atom()
            if self.peek() == "^":
                raise Unclear("a power behind the argument of a function")
            return inside
        out = None
        while (c := self.peek()) and (c.isalnum() or c in ".\\"):
            ahead = _COMMAND.match(self.text, self.at) or _NAME.match(self.text, self.at)
            if ahead and out is not None and ahead[0].lstrip("\\") not in _GREEK | {"pi"}:
                if ahead[0].lstrip("\\") in _FUNCTIONS | {"cdot", "times", "rfloor", "rceil"}:
                    break
                raise Unclear("where the argument of a function ends")
            factor = self.power()
            out = factor if out is None else mul(out, factor)
        if out is None:
            raise Unclear("a function of nothing")
        if self.peek() in ("/", "("):
            raise Unclear("where the argument of a function ends")
        return out

    def letter(self, name: str):
        if self.take("_"):
            if self.take("{"):
                end = self.text.find("}", self.at)
                name, self.at = f"{name}_{self.text[self.at : end]}", end + 1
            else:
                name, self.at = f"{name}_{self.peek()}", self.at + 1
        elif name == "e":
            import mpmath

            return mpmath.e * 1
        elif name == "i":
            import mpmath

            return mpmath.mpc(0, 1)
        self.letters.add(name)
        return sample(name, self.point)
