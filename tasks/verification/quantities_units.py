r"""SI, its prefixes, and the derived and customary units of science questions, with a parser for unit expressions.

A table of our own, not sympy.physics.units: the reward needs microseconds and no import, sympy parses no unit
expressions, and has neither °F nor gallons. Every factor that sympy has too is compared with it by a test.

How an expression is read (`kg·m/s^2`, `J kg^{-1} K^{-1}`, `metres per second`, `\mathrm{m\,s^{-2}}`):
- Symbols keep their case (`mW` is not `MW`); names do not (`Metres`). A prefix goes with the units marked for it.
- A space or `·` multiplies, `/` and `per` divide. A space binds more tightly than `/`: `J/kg K` is J/(kg·K).
- `m2`, `m^2`, `m**2`, `m²`, `square metre`, `metre squared`, `s-1` are powers.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import pi

Dimensions = tuple[tuple[str, int], ...]  # sorted (base, power), no zero powers

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_PREFIXES = {
    "Q": 30, "R": 27, "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1,
    "d": -1, "c": -2, "m": -3, "µ": -6, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
    "K": 3,  # as in KJ; it can mean nothing else
}  # fmt: skip
_PREFIX_NAMES = {
    "exa": 18, "peta": 15, "tera": 12, "giga": 9, "mega": 6, "kilo": 3, "hecto": 2, "deca": 1,
    "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9, "pico": -12, "femto": -15, "atto": -18,
}  # fmt: skip
_PI = Fraction(pi)


@dataclass(frozen=True)
class Unit:
    factor: Fraction  # times the base units
    dimensions: Dimensions
    offset: Fraction = Fraction(0)  # kelvin at zero: °C and °F, which stand for a point on a scale where they are alone


# symbols | names | factor | base units and powers. A leading `+`: takes prefixes.
_TABLE = r"""
+ m            | metre meter metres meters              | 1 | m
+ g            | gram grams gramme grammes              | 1/1000 | kg
+ s            | second seconds sec secs                | 1 | s
+ A            | ampere amperes amp amps                | 1 | A
+ K            | kelvin kelvins                         | 1 | K
+ mol          | mole moles                             | 1 | mol
+ cd           | candela candelas                       | 1 | cd
+ Hz           | hertz hz                                  | 1 | s-1
+ N            | newton newtons                         | 1 | kg m s-2
+ Pa           | pascal pascals                         | 1 | kg m-1 s-2
+ J            | joule joules                           | 1 | kg m2 s-2
+ W            | watt watts                             | 1 | kg m2 s-3
+ C            | coulomb coulombs                       | 1 | A s
+ V            | volt volts                             | 1 | kg m2 s-3 A-1
+ Ω            | ohm ohms                               | 1 | kg m2 s-3 A-2
+ S            | siemens                                | 1 | kg-1 m-2 s3 A2
+ F            | farad farads                           | 1 | kg-1 m-2 s4 A2
+ T            | tesla teslas                           | 1 | kg s-2 A-1
+ Wb           | weber webers                           | 1 | kg m2 s-2 A-1
+ H            | henry henries henrys                   | 1 | kg m2 s-2 A-2
+ lm           | lumen lumens                           | 1 | cd
+ lx           | lux                                    | 1 | cd m-2
+ Bq           | becquerel becquerels                   | 1 | s-1
+ Gy           | gray grays                             | 1 | m2 s-2
+ Sv           | sievert sieverts                       | 1 | m2 s-2
+ kat          | katal katals                           | 1 | mol s-1
+ L l ℓ        | litre liter litres liters              | 1/1000 | m3
+ M            | molar                                  | 1000 | mol m-3
+ eV           | electronvolt electronvolts electron-volt electron-volts | 1.602176634e-19 | kg m2 s-2
+ bar          | bar bars                               | 100000 | kg m-1 s-2
+ cal          | calorie calories                       | 4.184 | kg m2 s-2
+ t            | tonne tonnes                           | 1000 | kg
+ Da           | dalton daltons                         | 1.66053906660e-27 | kg
+ pc           | parsec parsecs                         | 30856775814913673 | m
+ Wh           | watt-hour watt-hours                   | 3600 | kg m2 s-2
+ Nm           |                                        | 1 | kg m2 s-2
+ Ah           | ampere-hour ampere-hours amp-hours     | 3600 | A s
+ VA           |                                        | 1 | kg m2 s-3
+ G            | gauss                                  | 1e-4 | kg s-2 A-1
+ Ci           | curie curies                           | 37000000000 | s-1
+ rad          | radian radians                         | 1 |
  sr           | steradian steradians                   | 1 |
  amu          |                                        | 1.66053906660e-27 | kg
  u            |                                        | 1.66053906660e-27 | kg
  Cal          |                                        | 4184 | kg m2 s-2
  min mins     | minute minutes                         | 60 | s
  h hr hrs     | hour hours                             | 3600 | s
  d            | day days                               | 86400 | s
  wk           | week weeks                             | 604800 | s
  yr yrs a     | year years                             | 31557600 | s
  ° deg        | degree degrees                         | @/180 |
  arcmin       | arcminute arcminutes                   | @/10800 |
  arcsec       | arcsecond arcseconds                   | @/648000 |
  rev          | revolution revolutions                 | 2@ |
  rpm RPM      |                                        | @/30 | s-1
  %            | percent                                | 1/100 |
  ‰            | permille                               | 1/1000 |
  ppm          |                                        | 1e-6 |
  ppb          |                                        | 1e-9 |
  Å            | angstrom angstroms ångström ångströms  | 1e-10 | m
  au AU        |                                        | 149597870700 | m
  ly           | light-year light-years lightyear lightyears | 9460730472580800 | m
  ha           | hectare hectares                       | 10000 | m2
  cc           |                                        | 1e-6 | m3
  atm          | atm atmosphere atmospheres                 | 101325 | kg m-1 s-2
  torr Torr    | torr                                   | 101325/760 | kg m-1 s-2
  mmHg         |                                        | 133.322387415 | kg m-1 s-2
  psi          | psi                                    | 6894.757293168361 | kg m-1 s-2
  dyn          | dyne dynes                             | 1e-5 | kg m s-2
  erg          | erg ergs                               | 1e-7 | kg m2 s-2
  BTU Btu      |                                        | 1055.05585262 | kg m2 s-2
  hp           | horsepower                             | 745.69987158227022 | kg m2 s-3
  in           | inch inches                            | 0.0254 | m
  ft           | foot feet                              | 0.3048 | m
  yd           | yard yards                             | 0.9144 | m
  mi           | mile miles                             | 1609.344 | m
  nmi          |                                        | 1852 | m
  acre         | acre acres                             | 4046.8564224 | m2
  gal          | gallon gallons                         | 0.003785411784 | m3
  qt           | quart quarts                           | 0.000946352946 | m3
  lb lbs lbm   | pound pounds                           | 0.45359237 | kg
  lbf          | pound-force                            | 4.4482216152605 | kg m s-2
  oz           | ounce ounces                           | 0.028349523125 | kg
  slug slugs   | slug slugs                             | 14.593902937206 | kg
  mph          | mph                                    | 0.44704 | m s-1
  kph kmh      |                                        | 1/3.6 | m s-1
  kn kt        | knot knots                             | 1852/3600 | m s-1
  °C degC      | celsius centigrade                     | 1 | K | 273.15
  °F degF      | fahrenheit                             | 5/9 | K | 45967/180
"""


def _number(text: str) -> Fraction:
    if "@" in text:  # of pi
        times, _, over = text.partition("@")
        return Fraction(times or 1) * _PI / Fraction(over[1:] or 1)
    above, _, below = text.partition("/")
    return Fraction(above) / Fraction(below or 1)


def _read_table() -> tuple[dict[str, Unit], dict[str, Unit]]:
    symbols: dict[str, Unit] = {}
    names: dict[str, Unit] = {}
    prefixed: list[tuple[str, str, Unit]] = []
    for line in _TABLE.strip().splitlines():
        first, second, factor, bases, *offset = (part.strip() for part in line.split("|"))
        powers = tuple(sorted((m[1], int(m[2] or 1)) for m in re.finditer(r"([A-Za-z]+)(-?\d+)?", bases)))
        unit = Unit(_number(factor), powers, _number(offset[0]) if offset else Fraction(0))
        symbols |= dict.fromkeys(first.removeprefix("+").split(), unit)
        names |= dict.fromkeys(second.split(), unit)
        if first.startswith("+"):
            prefixed.append((first.removeprefix("+"), second, unit))
    for first, second, unit in prefixed:
        for marks, known, table in ((first, symbols, _PREFIXES), (second, names, _PREFIX_NAMES)):
            for mark in marks.split():
                for prefix, power in table.items():
                    known.setdefault(prefix + mark, Unit(unit.factor * Fraction(10) ** power, unit.dimensions))
    return symbols, names


SYMBOLS, NAMES = _read_table()
KELVIN = (("K", 1),)
ONE = Unit(Fraction(1), ())

_DEGREES = re.compile(
    r"(?:\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\circ|\\degree|°|º|˚|\bdegrees?\b|\bdeg\.?)\s*(Celsius|Fahrenheit|[CFK]\b)?",
    re.IGNORECASE,
)
_MACRO = re.compile(r"\\(?:text|textrm|mathrm|rm|mathbf|mbox|operatorname|unit|si)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_SQUARES = re.compile(r"\b(square|sq\.?|cubic|cu\.?)\s+([A-Za-z]+)", re.IGNORECASE)
_SQUARED = re.compile(r"\s+(squared|cubed)\b", re.IGNORECASE)
_EXPONENT = r"(?:(?:\^)?([+-]?\d)|\^\{\s*([+-]?\d)\s*\}|\^\(\s*([+-]?\d)\s*\))"
_TOKEN = re.compile(rf"([^\W\d_]+(?:-[a-z]{{3,}})*|[°%‰]C?F?){_EXPONENT}?|([/*()])|(\s+)|(1)(?=\s*/)")


class UnknownUnit(ValueError):
    """No unit of the table; the message names the part."""


def clean(text: str) -> str:
    """A unit expression in plain spelling: LaTeX, superscripts, dots and degree signs written one way."""
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+", lambda m: "^" + m[0].translate(SUPERSCRIPTS), text)
    for _ in range(3):
        text = _MACRO.sub(r" \1 ", text)
    text = _DEGREES.sub(lambda m: " °" + (m[1] or "")[:1].upper() + " ", text).replace("°K", "K")
    text = text.replace("℃", " °C ").replace("℉", " °F ")
    text = re.sub(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"(\1)/(\2)", text)
    text = re.sub(r"\\mu(?![a-z])\s*", "µ", text).replace("μ", "µ").replace("\u2126", "Ω").replace("\u212b", "Å")
    text = re.sub(r"\\Omega(?![a-z])", "Ω", text).replace("\\%", "%").replace("\\AA", "Å").replace("\u2212", "-")
    text = re.sub(r"\\cdot(?![a-z])|\\times(?![a-z])|[·⋅×∙•]", "*", text)
    text = re.sub(r"\\[,;:! ]|~|\\quad|\\(?=[a-z])", " ", text).replace("$", " ")
    text = re.sub(r"\bper\b", "/", text, flags=re.IGNORECASE)
    text = _SQUARES.sub(lambda m: f"{m[2]}^{2 if m[1].lower().startswith('s') else 3}", text)
    text = _SQUARED.sub(lambda m: "^2" if m[1].lower() == "squared" else "^3", text)
    text = re.sub(r"\s*([/*^])\s*", r"\1", re.sub(r"\*\*", "^", text))
    return " ".join(text.split()).rstrip(".")


def parse_unit(text: str) -> Unit:
    """The unit that a cleaned expression stands for; raises UnknownUnit."""
    tokens = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise UnknownUnit(f"{text[at : at + 20]!r} in {text[:40]!r}")
        tokens.append(match)
        at = match.end()
    unit, rest = _quotient(tokens, 0)
    if rest < len(tokens):
        raise UnknownUnit(f"{text[:40]!r}: a bracket too many")
    return unit


def _quotient(tokens: list, at: int) -> tuple[Unit, int]:
    """`product (/ product)*`, up to a closing bracket; `*` has the rank of `/`."""
    unit, at = _product(tokens, at)
    while at < len(tokens) and tokens[at][5] in ("/", "*"):
        sign = 1 if tokens[at][5] == "*" else -1
        right, at = _product(tokens, at + 1)
        unit = times(unit, right, sign)
    return unit, at


def _product(tokens: list, at: int) -> tuple[Unit, int]:
    unit, found = ONE, False
    while at < len(tokens):
        word, *powers, sign, space, one = tokens[at].groups()
        power = next(filter(None, powers), None)
        if space or one:
            found, at = found or bool(one), at + 1
            continue
        if sign == "(":
            inner, at = _quotient(tokens, at + 1)
            if at >= len(tokens) or tokens[at][5] != ")":
                raise UnknownUnit("a bracket does not close")
            unit, found, at = times(unit, inner), True, at + 1
            continue
        if sign:
            break
        factor = lookup(word)
        unit = factor if not found and power is None else times(unit, factor, int(power or 1))
        found, at = True, at + 1
    if not found:
        raise UnknownUnit("a factor is missing")
    return unit, at


def lookup(word: str) -> Unit:
    if (unit := SYMBOLS.get(word) or NAMES.get(word.casefold())) is None:
        raise UnknownUnit(repr(word[:40]))
    return unit


def times(a: Unit, b: Unit, power: int = 1) -> Unit:
    """a·b^power; in a product °C and °F are intervals, so the offset goes."""
    powers = dict(a.dimensions)
    for base, p in b.dimensions:
        powers[base] = powers.get(base, 0) + p * power
    return Unit(a.factor * b.factor**power, tuple(sorted((base, p) for base, p in powers.items() if p)))
