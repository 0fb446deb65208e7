r"""Units behind (or currency signs before) a number: what is measured, and how many of the base unit it is.

`measure` splits an answer into its number and its unit. Units in the table convert into each other (`5 cm` is `50 mm`)
and contradict each other (`5 cm` is not `5 kg`); any other noun (`5 apples`) says nothing about equality. An answer
without a unit is read in the gold's.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

_F = Fraction
_TABLE = {  # names: (what it measures, factor to the base unit)
    "mm millimeter millimetre": ("length", _F(1, 1000)),
    "cm centimeter centimetre": ("length", _F(1, 100)),
    "dm decimeter decimetre": ("length", _F(1, 10)),
    "m meter metre": ("length", _F(1)),
    "km kilometer kilometre": ("length", _F(1000)),
    "in inch inches": ("length", _F(254, 10000)),
    "ft foot feet": ("length", _F(3048, 10000)),
    "yd yard": ("length", _F(9144, 10000)),
    "mi mile": ("length", _F(1609344, 1000)),
    "s sec second": ("time", _F(1)),
    "min minute": ("time", _F(60)),
    "h hr hour": ("time", _F(3600)),
    "day": ("time", _F(86400)),
    "week wk": ("time", _F(604800)),
    "month": ("months", _F(1)),
    "year yr": ("months", _F(12)),
    "mg milligram": ("mass", _F(1, 1000)),
    "g gram": ("mass", _F(1)),
    "kg kilogram": ("mass", _F(1000)),
    "tonne": ("mass", _F(1000000)),
    "lb lbs pound": ("mass", _F(45359237, 100000)),
    "oz ounce": ("mass", _F(45359237, 1600000)),
    "l liter litre": ("volume", _F(1)),
    "ml milliliter millilitre": ("volume", _F(1, 1000)),
    "gal gallon": ("gallons", _F(1)),
    "dollar usd buck": ("dollars", _F(1)),
    "cent": ("dollars", _F(1, 100)),
    "euro eur": ("euros", _F(1)),
    "gbp": ("sterling", _F(1)),
    "yuan rmb cny": ("yuan", _F(1)),
    "yen jpy": ("yen", _F(1)),
    "rupee rs inr": ("rupees", _F(1)),
    "mph": ("length/time", _F(1609344, 3600000)),
    "kmh kmph kph": ("length/time", _F(1000, 3600)),
    "degree deg": ("angle", _F(1)),
    "radian rad": ("radians", _F(1)),
    "kb kilobyte": ("bytes", _F(1000)),
    "mb megabyte": ("bytes", _F(1000000)),
    "gb gigabyte": ("bytes", _F(1000000000)),
    "acre": ("acres", _F(1)),
    "hectare ha": ("hectares", _F(1)),
}
UNITS = {name: unit for names, unit in _TABLE.items() for name in names.split()}
_CURRENCY = {
    "$": "dollar",
    "\\$": "dollar",
    "€": "euro",
    "£": "gbp",
    "¥": "yen",
    "₹": "rupee",
    "US$": "dollar",
    "USD": "dollar",
    "Rs.": "rs",
}
_SIGN = re.compile(r"^([-+]?)\s*(US\$|USD|\\\$|\$|€|£|¥|₹|Rs\.?)\s*([-+]?)\s*(?=[\d.\\(])")
_COMMAND_UNIT = re.compile(
    r"(?P<value>.+?)\s*\\(?:text|mathrm|mbox|textrm|textnormal|rm)\s*\{(?P<unit>[^{}]*)\}\s*"
    r"(?:\^\{?(?P<power>\d)\}?)?(?:\s*/\s*(?:\\(?:text|mathrm)\s*\{(?P<per>[^{}]*)\}|(?P<per2>[a-z]+))\s*(?:\^\{?(?P<power2>\d)\}?)?)?"
)
_PLAIN_UNIT = re.compile(
    r"(?P<value>.*[\d)}.])\s*(?P<unit>(?<![\\A-Za-z])[A-Za-z][A-Za-z. ]*?)\.?\s*(?:\^\{?(?P<power>[23])\}?)?"
    r"(?:\s*/\s*(?P<per>[A-Za-z]+)(?P<per2>)(?:\^\{?(?P<power2>\d)\}?)?)?"
)
_DEGREES = re.compile(
    r"(?P<value>.+?)\s*\^\s*\{?\s*\\circ\s*\}?\s*(?:\\?(?:text|mathrm)?\s*\{?\s*(?P<scale>[CF])\s*\}?)?"
)
_PERCENT = re.compile(r"(?P<value>.+?)\s*(?:\\?%|\\text\{\s*(?:\\?%|percent)\s*\}|\bper ?cent\b|(?<=\d)percent\b)")
_FUNCTION = re.compile(r"\\?(?:sin|cos|tan|cot|sec|csc)")
CHANGES = (  # words that change or doubt the number before them, and so are no noun behind it
    r"\b(?:or|and|not|any|but|maybe|either|nor|squared|cubed|factorial|times|minus|plus|over|half|halves|thirds?|quarters?|"
    r"hundreds?|thousands?|millions?|billions?|dozens?|root|power|than|sin|cos|tan|log|ln|mod|divided|to|of)\b"
)
_HEDGE = re.compile(CHANGES, re.IGNORECASE)
MAX_WORDS = 4  # of a noun that is taken for a unit
_COMPOUND = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


@dataclass(frozen=True)
class Measure:
    number: str  # the number's own text
    kind: str = (
        ""  # what is measured ("length", "length^2", "length/time", "percent"); "" without or with any other noun
    )
    factor: Fraction = Fraction(1)


def unit(name: str) -> tuple[str, Fraction] | None:
    """(kind, factor) of a unit's name, also `square feet`, `km/h`, `miles per hour`; None for any other noun."""
    name = " ".join(name.replace("~", " ").replace("\\", " ").split()).strip(". ")
    name = re.sub(r"(?:^|\s)per\s", "/", name)
    if "/" in name:
        above, _, below = name.partition("/")
        a, b = unit(above), unit(below)
        return (f"{a[0]}/{b[0]}", a[1] / b[1]) if a and b else None
    low = name.lower()
    for prefix, power in (("square ", 2), ("sq. ", 2), ("sq ", 2), ("cubic ", 3), ("cu ", 3)):
        if low.startswith(prefix) and (base := unit(name[len(prefix) :])):
            return raised(base, power)
    if low.startswith(("degrees ", "degree ")):
        return {"celsius": ("celsius", _F(1)), "c": ("celsius", _F(1)), "fahrenheit": ("fahrenheit", _F(1))}.get(
            low.split()[1]
        )
    for form in (low, low.removesuffix("s"), low.removesuffix("es")):
        if form in UNITS and (len(form) > 1 or name in ("m", "s", "g", "h", "l", "L")):
            return UNITS[form]
    return None


def raised(base: tuple[str, Fraction], power: int) -> tuple[str, Fraction]:
    if base[0] == "length" and power == 3:
        return "volume", base[1] ** 3 * 1000  # litres
    return (f"{base[0]}^{power}" if power > 1 else base[0]), base[1] ** power


def measure(answer: str, loose: bool = False) -> Measure:
    """An answer as a number and its unit; `loose` also takes any trailing noun and single letters for a unit."""
    answer = answer.replace(r"\ ", " ").replace(r"\,", " ").strip()
    answer = answer[:-1] if answer.endswith(".") and not answer.endswith("..") else answer
    sign = _SIGN.match(answer)
    if sign and answer.count("$") != 2:  # two dollar signs are LaTeX
        number = sign[1] + sign[3] + answer[sign.end() :]
        number = re.sub(r"\s*(?:dollars?|USD|\\text\{\s*dollars?\s*\})\.?$", "", number)
        kind, factor = unit(_CURRENCY.get(sign[2], "rs"))
        return Measure(number, kind, factor)
    answer = answer.strip("$ ")
    if match := _PERCENT.fullmatch(answer):
        return Measure(match["value"], "percent")
    if (match := _DEGREES.fullmatch(answer)) and not _FUNCTION.search(match["value"]):
        kind = {"C": "celsius", "F": "fahrenheit", None: "angle"}[match["scale"]]
        return Measure(match["value"], kind)
    if total := compound(answer):
        return total
    match = _COMMAND_UNIT.fullmatch(answer)
    command = match is not None
    match = match or _PLAIN_UNIT.fullmatch(answer)
    if not match or not match["unit"].strip():
        return Measure(answer)
    found = unit(match["unit"])
    per = match["per"] or match["per2"]
    if found and per:
        below = unit(per)
        if below:
            below = raised(below, int(match["power2"] or 1))
            found = (f"{found[0]}/{below[0]}", found[1] / below[1])
        else:
            found = None
    if found:
        if not command and len(match["unit"].strip()) < 2 and not loose:
            return Measure(answer)
        return Measure(match["value"], *raised(found, int(match["power"] or 1)))
    if len(match["unit"].split()) > MAX_WORDS or _HEDGE.search(match["unit"]):
        return Measure(answer)
    if not command and not answer[: match.start("unit")].endswith(" "):  # `12abc`
        return Measure(answer)
    if re.search(r"[A-Za-z]{2}" if command else r"[A-Za-z]{3}", match["unit"]) and (command or loose):
        return Measure(match["value"])
    return Measure(answer)


def compound(answer: str) -> Measure | None:
    """`7 minutes and 5 seconds`, `5 ft 3 in`: the sum in the base unit."""
    answer = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", answer)
    parts = _COMPOUND.findall(answer)
    if len(parts) < 2 or re.sub(r"(?:\band\b|[,\s.])+", "", _COMPOUND.sub("", re.sub(r"\band\b", " ", answer))):
        return None
    found = [unit(name) for _, name in parts]
    if None in found or len({kind for kind, _ in found}) != 1 or any(len(n) < 2 for _, n in parts):
        return None
    total = sum((Fraction(number) * factor for (number, _), (_, factor) in zip(parts, found)), Fraction(0))
    return Measure(f"{total.numerator}/{total.denominator}" if total.denominator > 1 else str(total), found[0][0])
