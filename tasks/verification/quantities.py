r"""Numbers with units and a tolerance (physics, chemistry, engineering).

`meta` holds `{"unit": "m/s", "tolerance": 0.01, "absolute": null}`; the gold is a number with or without its unit. The
final answer (answers.py) is read as one number and one unit, converted to the gold's unit, and compared there:

- ok where |answer - gold| <= max(tolerance·|gold|, absolute). `tolerance` is relative, `absolute` is in the gold's
  unit. Without either, a gold that states an uncertainty (`9.8 ± 0.2`) takes that; else the two must be equal (to
  1e-9). The uncertainty of an answer widens nothing.
- Compatible units are converted (`36 km/h` is `10 m/s`), incompatible ones are wrong, unknown ones unparsable.
- **An answer without a unit is read in the gold's unit**, because questions name the unit they ask for. A percentage
  may also be given as the ratio: `0.5` and `50` both answer `50 %`.
- A unit where the gold has none is wrong, except for `%`, angles and words that no table knows (`5 apples`): the first
  two are numbers (`50 %` is 0.5), the last is unparsable, because nobody said what is counted.
- °C and °F alone are points on a scale and are converted with their offset; in a product (J/(kg·°C)) they are
  intervals. `C`, `F` and bare degrees mean temperatures where the gold is one.
- A number is a decimal (thousands separators allowed), with or without a power of ten in any usual spelling, or a
  fraction. Ranges, inequalities, decimal commas and two numbers are unparsable.
"""

import json
import re
from dataclasses import dataclass
from fractions import Fraction

from tasks.verification.answers import NoAnswer, final_answer
from tasks.verification.quantities_units import KELVIN, SUPERSCRIPTS, SYMBOLS, Unit, UnknownUnit, clean, parse_unit
from tasks.verification.verdict import Decided, VerificationError

NAME = "quantity"
LIBRARIES = ()
RUNS = "process"

EXACT = Fraction(1, 10**9)  # relative; pi and the conversion of units are not exact beyond that
MAX_POWER = 400  # of ten; a larger one is no physics and would fill the memory

_LEAD = re.compile(
    r"^(?:\\?approx(?:imately)?\.?|≈|≃|~|\\sim|about|around|roughly|=|\+(?=\d)"
    r"|(?:\\?[A-Za-z]\w*(?:_\{?\w+\}?)?|\\[A-Za-z]+)"
    r"\s*(?:=|≈|\\approx)|answer\s*:|:)\s*",
    re.IGNORECASE,
)
_SPACES = re.compile(r"\\[,;:! ]|~|[\u00a0\u2007\u2009\u202f]|\\(?:left|right|displaystyle)(?![a-zA-Z])")
_DIGITS = r"(?:\d{1,3}(?:(?:,|\{,\})\d{3})+(?!\d)|\d{1,3}(?: \d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+"
_POWER = r"(?:\s*(?:\\times|\\cdot|[×*·xX])\s*10\s*(?:\^|\*\*)\s*[({]?\s*([+-]?\s*\d+)\s*[)}]?|[eE]([+-]?\d+))"
_NUMBER = re.compile(
    rf"\s*([+-]?)\s*(?:(?P<digits>{_DIGITS})(?:\((?P<last>\d{{1,3}})\))?"
    rf"|\\d?t?frac\s*\{{\s*(?P<a>\d+(?:\.\d+)?)\s*\}}\s*\{{\s*(?P<b>\d+(?:\.\d+)?)\s*\}})"
)
_POWER_OF_TEN = re.compile(r"\s*([+-]?)\s*10\s*(?:\^|\*\*)\s*[({]?\s*([+-]?\s*\d+)\s*[)}]?")
_MIXED = re.compile(  # 2 1/2, 2\\frac{1}{2}
    r"\s*([+-]?)\s*(\d{1,9})(?:\s+(?=\d)|\s*\\d?t?frac\s*\{\s*)(\d{1,9})\s*(?:/|\}\s*\{)\s*(\d{1,9})\}?(?![\d.])"
)
_SLASH = re.compile(r"\s*/\s*(\d+(?:\.\d+)?)(?![\d.])")
_PLUS_MINUS = re.compile(r"\s*(?:±|\\pm|\+/-|\+-)\s*")


class Unreadable(ValueError):
    """The text is not one number with one unit; the message says why."""


@dataclass(frozen=True)
class Quantity:
    value: Fraction
    uncertainty: Fraction | None
    unit: str  # cleaned, empty where there is none


def start(prompt: dict, text: str) -> tuple[str | None, Decided | None, dict | None]:
    """(extracted answer, decision, None): every quantity is decided at once."""
    gold, settings = _gold(prompt)
    try:
        extracted = final_answer(text)
    except NoAnswer as reason:
        return None, ("unparsable", "quantity/extraction", str(reason)), None
    try:
        answer = read(extracted)
        candidates, how = _converted(answer, gold)
    except (Unreadable, UnknownUnit) as reason:
        return extracted, ("unparsable", "quantity/reading", str(reason)), None
    if not candidates:
        return (
            extracted,
            ("wrong", "quantity/units", f"{answer.unit or 'no unit'} against {gold.unit or 'no unit'}"),
            None,
        )
    allowed = max(settings[0] * abs(gold.value), settings[1])
    gap = min(abs(value - gold.value) for value in candidates)
    detail = f"off by {_shown(gap)}, allowed {_shown(allowed)} {gold.unit}".rstrip()
    return extracted, ("ok" if gap <= allowed else "wrong", f"quantity/{how}", detail), None


def work(job: dict) -> Decided:
    """Never asked: `start` decides every row."""
    raise RuntimeError(f"quantities need no worker, yet one was asked: {job}")


def gold_problem(prompt: dict) -> tuple[str | None, dict | None]:
    """What is wrong with a row's gold or meta, or None."""
    try:
        _gold(prompt)
    except VerificationError as error:
        return str(error), None
    return None, None


def read(text: str) -> Quantity:
    """A text as one number and its unit; raises Unreadable."""
    text = _SPACES.sub(" ", text.replace("\u2212", "-").replace("$", " ").replace("\\%", "%")).strip()
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+", lambda m: "^" + m[0].translate(SUPERSCRIPTS), text)
    text = re.sub(r"^\\(?:text|mathrm|mathbf)\{([^{}]*)\}$", r"\1", text).strip()
    while lead := _LEAD.match(text):
        text = text[lead.end() :]
    bracket = re.fullmatch(
        r"\((?P<in>[^()]*(?:\(\d+\))?[^()]*)\)(?P<power>" + _POWER + r")?(?P<rest>.*)", text, re.DOTALL
    )
    if bracket:  # (3.2 ± 0.1) × 10^3 m
        value, uncertainty, rest = _numbers(bracket["in"])
        if rest.strip() and bracket["rest"].strip():
            raise Unreadable("a unit inside the brackets and one outside")
        scale = _ten(bracket[3] or bracket[4] or "0")
        value, uncertainty = value * scale, uncertainty and uncertainty * scale
        rest = rest.strip() or bracket["rest"]
    else:
        value, uncertainty, rest = _numbers(text)
    unit = clean(rest)
    if re.search(r"[\d.]\s*[\d.]*\s*[-–—]\s*\d|^[,;]|\bto\b|\bor\b|\band\b|[<>≤≥=,;]", unit) or re.match(
        r"[-–—+*^]|\d", unit
    ):
        raise Unreadable(f"more than one number: {unit[:40]!r} follows the first")
    return Quantity(value, uncertainty, unit)


def _numbers(text: str) -> tuple[Fraction, Fraction | None, str]:
    """(value, uncertainty, what follows)."""
    value, last, at = _one(text, 0)
    uncertainty = last
    if match := _PLUS_MINUS.match(text, at):
        uncertainty, _, at = _one(text, match.end())
    return value, uncertainty, text[at:]


def _one(text: str, at: int) -> tuple[Fraction, Fraction | None, int]:
    """(number, uncertainty of its last digits as in 6.674(15), where it ends)."""
    ten = _POWER_OF_TEN.match(text, at)
    if ten:
        return (-1 if ten[1] == "-" else 1) * _ten(ten[2]), None, ten.end()
    if mixed := _MIXED.match(text, at):
        whole = int(mixed[2]) + _over(mixed[3], mixed[4])
        return (-whole if mixed[1] == "-" else whole), None, mixed.end()
    match = _NUMBER.match(text, at)
    if not match:
        raise Unreadable(f"no number at {text[at : at + 30]!r}")
    last = None
    if match["digits"]:
        digits = match["digits"].replace("{,}", "").replace(",", "").replace(" ", "")
        value = Fraction(digits)
        if match["last"]:
            last = int(match["last"]) * Fraction(1, 10 ** len(digits.partition(".")[2]))
    else:
        value = _over(match["a"], match["b"])
    at = match.end()
    if power := re.compile(_POWER).match(text, at):
        scale = _ten(power[1] or power[2])
        value, last, at = value * scale, last and last * scale, power.end()
    elif match["digits"] and (slash := _SLASH.match(text, at)):
        value, at = _over(str(float(value)) if value.denominator > 1 else str(value), slash[1]), slash.end()
    return (-value if match[1] == "-" else value), last, at


def _over(a: str, b: str) -> Fraction:
    if not Fraction(b):
        raise Unreadable("a division by zero")
    return Fraction(a) / Fraction(b)


def _ten(power: str) -> Fraction:
    power = power.replace(" ", "")
    if len(power) > 5 or abs(int(power)) > MAX_POWER:
        raise Unreadable(f"10^{power[:12]} is out of range")
    return Fraction(10) ** int(power)


def _converted(answer: Quantity, gold: Quantity) -> tuple[list[Fraction], str]:
    """(what the answer may be in the gold's unit, how); no value where the units do not fit; raises UnknownUnit."""
    percent = gold.unit == "%"
    if answer.unit == gold.unit:
        return [answer.value], "same unit"
    if not answer.unit:
        return [answer.value, answer.value * 100] if percent else [answer.value], "no unit"
    if not gold.unit:
        unit = parse_unit(answer.unit)
        return ([answer.value * unit.factor] if not unit.dimensions else []), "converted"
    theirs = _known(gold.unit)
    if theirs is None:  # a word, such as `apples` or `USD`
        return ([answer.value] if _word(answer.unit) == _word(gold.unit) else []), "same word"
    ours = parse_unit(answer.unit)
    if theirs.dimensions == KELVIN and ours.dimensions != KELVIN:
        if answer.unit == "°":
            return [answer.value], "no unit"
        ours = SYMBOLS.get(f"°{answer.unit}", ours)
    if ours.dimensions != theirs.dimensions:
        return [], "units"
    kelvin = answer.value * ours.factor + ours.offset
    return [(kelvin - theirs.offset) / theirs.factor], "converted"


def _known(unit: str) -> Unit | None:
    try:
        return parse_unit(unit)
    except UnknownUnit:
        return None


def _word(unit: str) -> str:
    """A counted thing, singular and plural alike."""
    return unit.casefold().removesuffix("s")


def _gold(prompt: dict) -> tuple[Quantity, tuple[Fraction, Fraction]]:
    """(gold, (relative, absolute)) of a row; raises VerificationError that names what is wrong."""
    where = f"prompt {prompt.get('id')} of domain 'quantity'"
    try:
        meta = json.loads(prompt.get("meta") or "{}")
        gold = read(prompt.get("gold") or "")
    except json.JSONDecodeError as error:
        raise VerificationError(f"{where}: meta is no JSON: {error}") from error
    except Unreadable as error:
        raise VerificationError(f"{where}: gold {prompt.get('gold')!r} is no number with a unit: {error}") from error
    if not isinstance(meta, dict):
        raise VerificationError(f"{where}: meta is no object")
    unit = clean(meta.get("unit") or "") if isinstance(meta.get("unit"), str | None) else None
    if unit is None or (unit and not _known(unit) and not re.fullmatch(r"[^\W\d_]{3,}", unit)):
        raise VerificationError(f"{where}: meta.unit {meta.get('unit')!r} is no unit that the table knows, and no word")
    if gold.unit and unit and gold.unit != unit:
        values, _ = _converted(gold, Quantity(Fraction(0), None, unit)) if _known(gold.unit) else ([], "")
        if not values:
            raise VerificationError(f"{where}: the gold's unit {gold.unit!r} does not fit meta.unit {unit!r}")
        gold = Quantity(values[0], gold.uncertainty, unit)
    elif not gold.unit:
        gold = Quantity(gold.value, gold.uncertainty, unit)
    elif not _known(gold.unit) and not unit:
        raise VerificationError(f"{where}: the gold's unit {gold.unit!r} is not in the table; give meta.unit")
    relative, absolute = _bound(meta, "tolerance", where), _bound(meta, "absolute", where)
    if relative is None and absolute is None:
        relative, absolute = EXACT, gold.uncertainty
    return gold, (relative or Fraction(0), absolute or Fraction(0))


def _bound(meta: dict, key: str, where: str) -> Fraction | None:
    value = meta.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise VerificationError(f"{where}: meta.{key} is {value!r}, not a number of 0 or more")
    return Fraction(str(value))


def _shown(value: Fraction) -> str:
    try:
        return f"{float(value):.3g}"
    except OverflowError:
        return "more than 1e308"
