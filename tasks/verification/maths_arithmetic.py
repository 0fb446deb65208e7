r"""Bounded arithmetic on exact (Fraction) and 60-digit numbers, real or complex: nothing here can run away.

Rational in, rational out wherever that is possible; everything else is mpmath's. What would be too big, or has no one
reading, raises Unclear.
"""

import hashlib
import math
from fractions import Fraction
from functools import lru_cache, wraps

DIGITS = 60
AGREE = 40  # digits that make two inexact values the same
MAX_BITS = 20_000  # of an exact number
MAX_EXPONENT = 10_000


class Unclear(Exception):
    """The reader does not know this notation, or people read it in two ways."""


def precise(function):
    """A function whose arithmetic has DIGITS digits."""

    @wraps(function)
    def with_digits(*args):
        import mpmath

        with mpmath.workdps(DIGITS):
            return function(*args)

    return with_digits


@precise
def same(a, b) -> bool:
    """Whether two values are one number, to 40 digits where they are not exact."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    import mpmath

    a, b = inexact(a), inexact(b)
    return bool(abs(a - b) <= mpmath.mpf(10) ** -AGREE * max(abs(a), abs(b), mpmath.mpf(10) ** -15))


def inexact(x):
    import mpmath

    return mpmath.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else x


@lru_cache(maxsize=4096)
def sample(name: str, point: str) -> Fraction:
    """The value of a variable at a point: fixed, different for every name."""
    raw = int.from_bytes(hashlib.blake2b(f"{name}@{point}".encode(), digest_size=6).digest(), "big")
    if point.startswith("integer"):
        return Fraction(2 + raw % 5 + int(point[-1]))
    size = Fraction(3, 10) + Fraction(raw % 10_000_019, 4_000_000)  # 0.3 .. 2.8
    negative = point.startswith("mixed") and (len(name) + ord(name[0]) + int(point[-1])) % 2
    return -size if negative else size


def add(a, b):
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return bounded(a + b)
    return inexact(a) + inexact(b)


def mul(a, b):
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return bounded(a * b)
    return inexact(a) * inexact(b)


def div(a, b):
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return bounded(a / b)
    return inexact(a) / inexact(b)


def neg(a):
    return -a


def bounded(x: Fraction):
    if x.numerator.bit_length() > MAX_BITS or x.denominator.bit_length() > MAX_BITS:
        raise Unclear("a number too big")
    return x


def pi():
    import mpmath

    return mpmath.pi * 1


def power(a, b):
    import mpmath

    if isinstance(b, Fraction) and b.denominator == 1 and isinstance(a, Fraction):
        bits = max(a.numerator.bit_length(), a.denominator.bit_length())
        if abs(b.numerator) * bits > MAX_BITS:
            raise Unclear("a power too big")
        return a ** int(b)
    if (
        isinstance(a, Fraction)
        and isinstance(b, Fraction)
        and b.denominator <= 100
        and abs(b.numerator) <= 100
        and a >= 0
    ):
        return power(root(a, Fraction(b.denominator)), Fraction(b.numerator))
    a, b = inexact(a), inexact(b)
    if abs(b) > MAX_EXPONENT or (a != 0 and abs(mpmath.log(abs(a))) * abs(b) > MAX_EXPONENT):
        raise Unclear("a power too big")
    if isinstance(b, mpmath.mpf) and b == int(b):
        return a ** int(b)
    return mpmath.power(a, b)


def root(a, index):
    import mpmath

    if not isinstance(index, Fraction) or index.denominator != 1 or not 2 <= index <= 100:
        return power(a, div(Fraction(1), index))
    n = int(index)
    if isinstance(a, Fraction):
        if a < 0 and n % 2:
            return neg(root(-a, index))
        if a >= 0:
            above, below = (_integer_root(x, n) for x in (a.numerator, a.denominator))
            if above is not None and below is not None:
                return Fraction(above, below)
    a = inexact(a)
    if isinstance(a, mpmath.mpf) and a < 0 and n % 2:
        return -mpmath.root(-a, n)  # the real root, as in school
    return mpmath.root(a, n)


def _integer_root(x: int, n: int) -> int | None:
    import mpmath

    guess = int(mpmath.nint(mpmath.root(x, n))) if x else 0
    return guess if guess**n == x else None


def factorial(x):
    if isinstance(x, Fraction) and x.denominator == 1 and 0 <= x <= 1000:
        return bounded(Fraction(math.factorial(int(x))))
    if isinstance(x, Fraction) and abs(x) < 100 and x.denominator != 1:
        import mpmath

        return mpmath.gamma(inexact(x) + 1)
    raise Unclear("the factorial of that")


def binomial(n, k):
    if not (isinstance(n, Fraction) and isinstance(k, Fraction)) or abs(n) > 3000 or abs(k) > 3000:
        raise Unclear("the binomial of that")
    if k.denominator == 1 and k >= 0:
        out = Fraction(1)
        for i in range(int(k)):
            out = bounded(out * (n - i) / (i + 1))
        return out
    import mpmath

    return mpmath.binomial(inexact(n), inexact(k))


def absolute(x):
    return abs(x)


def rounded(x, up: bool):
    if isinstance(x, Fraction):
        return Fraction(math.ceil(x) if up else math.floor(x))
    if getattr(x, "imag", 0) != 0 or abs(x - int(x.real + (0.5 if x > 0 else -0.5))) < 1e-30:
        raise Unclear("the floor of that")  # at a jump rounding errors decide
    import mpmath

    return Fraction(int(mpmath.ceil(x) if up else mpmath.floor(x)))


def apply(name: str, x, base=None):
    import mpmath

    if name in ("sin", "cos", "tan") and x == 0:
        return Fraction(name == "cos")
    x = inexact(x)
    if name in ("exp", "sinh", "cosh", "tanh"):
        if abs(x) > MAX_EXPONENT:
            raise Unclear("an exponential too big")
        return getattr(mpmath, name)(x)
    if name in ("ln", "log", "lg"):
        if name == "log" and base is None:  # base ten or e: an unknown factor keeps the laws and tells it from \ln
            return mpmath.log(x) * inexact(sample("\\log", "positive0"))
        return mpmath.log(x) / (
            mpmath.log(inexact(base)) if base is not None else mpmath.log(10) if name == "lg" else 1
        )
    return getattr(mpmath, {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}.get(name, name))(x)
