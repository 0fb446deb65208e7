import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.verification import maths_units, quantities, quantities_units
from tasks.verification.verdict import VerificationError

PAIRS = [json.loads(line) for line in (Path(__file__).parent / "rules_adversarial" / "quantities.jsonl").open()]


def row(gold: object = "10", unit: object = "m/s", tolerance: object = 0.01, absolute: object = None, **more) -> dict:
    meta = json.dumps({"unit": unit, "tolerance": tolerance, "absolute": absolute})
    return {"id": "p8", "domain": "quantity", "gold": gold, "meta": meta} | more


def status(prompt: dict, answer: str) -> str:
    return quantities.start(prompt, f"<answer>{answer}</answer>")[1][0]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair['gold']} {pair['answer'][:30]}")
def test_adversarial_pairs(pair):
    prompt = row(pair["gold"], meta=json.dumps(pair["meta"]))
    assert status(prompt, pair["answer"]) == pair["status"], pair["reason"]


def test_there_are_enough_pairs_and_each_says_why():
    assert len(PAIRS) >= 60 and all(pair["reason"] for pair in PAIRS)


def test_units_agree_with_sympy():
    """Every factor of the table that sympy.physics.units has too, but for older constants, tropical year, sr."""
    from sympy.physics import units as sympy_units
    from sympy.physics.units.systems.si import SI

    other = {"dalton", "curie", "electronvolt", "year", "steradian", "torr"}
    bases = {"m": "length", "kg": "mass", "s": "time", "A": "current", "K": "temperature", "mol": "amount_of_substance"}
    system, compared = SI.get_dimension_system(), 0
    for name, unit in quantities_units.NAMES.items():
        theirs = getattr(sympy_units, name, None)
        if (
            name.removesuffix("s") in other
            or not isinstance(theirs, sympy_units.Quantity)
            or "cd" in dict(unit.dimensions)
        ):
            continue
        powers = system.get_dimensional_dependencies(theirs.dimension)
        ours = {bases[base]: power for base, power in unit.dimensions}
        assert {str(d.name): p for d, p in powers.items()} == ours, name
        # sympy's scale factors count mass in grams
        factor = float(theirs.scale_factor) / 1000.0 ** ours.get("mass", 0)
        assert math.isclose(factor, float(unit.factor), rel_tol=1e-9), name
        compared += 1
    assert compared > 60


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.floats(1e-12, 1e12, allow_nan=False),
    st.sampled_from(["m", "km", "m/s", "kg m^2/s^2", "°C", "%", "µF", "J/(kg·K)", "mol/L", "", "°F", "kWh"]),
)
def test_a_gold_is_its_own_answer_in_any_spelling(value, unit):
    prompt = row(f"{value!r} {unit}", unit=unit, tolerance=1e-9)
    mantissa, power = f"{value:.15e}".split("e")
    assert quantities.gold_problem(prompt) == (None, None)
    for answer in (f"{value!r} {unit}", rf"{mantissa} \times 10^{{{int(power)}}} \text{{{unit}}}", f"x = {value!r}"):
        assert status(prompt, answer) == "ok", answer
    assert status(prompt, f"{value * 1.001!r} {unit}") == "wrong"


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_any_text_is_decided(text):
    assert status(row(), text) in ("ok", "wrong", "unparsable")


@pytest.mark.parametrize(
    "answer", ["9" * 900, "1" * 400 + ".5e300", "10^{-400} m/s", "1e400 m/s", "m/s" * 300, "(" * 900]
)
def test_sizes_are_bounded(answer):
    assert status(row(), answer) in ("wrong", "unparsable")


def test_conversion_is_exact():
    gold = quantities.read("1 inch")
    assert quantities_units.parse_unit(gold.unit).factor == Fraction("0.0254")
    assert status(row("1", "in", tolerance=0), "2.54 cm") == "ok"
    assert status(row("1", "in", tolerance=0), "2.5401 cm") == "wrong"


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        (row(None), "gold None"),
        (row("proof"), "gold 'proof'"),
        (row("3 to 5"), "more than one number"),
        (row("10 m"), "does not fit meta.unit"),
        (row(unit="m//s"), "meta.unit"),
        (row(unit=5), "meta.unit 5"),
        (row("10 furlong2", unit=None), "furlong"),
        (row(tolerance=-1), "meta.tolerance is -1"),
        (row(tolerance="1%"), "meta.tolerance"),
        (row(absolute=True), "meta.absolute is True"),
        (row(meta="{"), "no JSON"),
        (row(meta="[1]"), "no object"),
    ],
)
def test_bad_rows_are_named(prompt, named):
    with pytest.raises(VerificationError, match="p8"):
        quantities.start(prompt, "<answer>1</answer>")
    assert named in quantities.gold_problem(prompt)[0]


def test_a_gold_in_another_unit_is_converted_to_the_one_asked_for():
    prompt = row("36 km/h")
    assert status(prompt, "10") == "ok" and status(prompt, "36") == "wrong"


def test_the_units_of_maths_answers_convert_as_those_of_quantities():
    """Two tables, since they read differently (months, litres as a kind, currencies, no prefixes): never two values."""
    base = {"length": "metre", "time": "second", "mass": "gram", "volume": "litre"}
    compared = set()
    for name, (kind, factor) in maths_units.UNITS.items():
        if kind in base:
            ratio = quantities_units.lookup(name).factor / quantities_units.lookup(base[kind]).factor
            assert ratio == factor, name
            compared.add(name)
    assert len(compared) > 40
