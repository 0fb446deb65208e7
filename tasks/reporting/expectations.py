"""What the rebuild must show, each expectation with the value that decides it: the shape of the paper's results.

An expectation whose models were not evaluated is left out. Levels are asked of the `cpu` recipe alone, whose base
is trained here to a known strength; the shape is asked of every recipe.
"""

from collections.abc import Mapping

from tasks.reporting.words import decimal, interval, measured, percent, points

VISIBLY = 0.05  # "visibly lower" language consistency: at least five points


def check(
    stages: Mapping[str, Mapping], pairs: Mapping[tuple[str, str], Mapping], metrics: Mapping, recipe: str
) -> list[dict]:
    """[{expectation, value, met}]; `stages` are evaluated models by the stage that made them, `pairs` their differences."""
    rows = [*_protocol(stages, recipe), *_levels(stages, recipe), *_length(metrics), *_shape(stages, pairs)]
    return [{"expectation": e, "value": v, "met": bool(met)} for e, v, met in rows]


def _protocol(stages: Mapping, recipe: str):
    protocol = next((m["protocol"] for m in stages.values() if m.get("protocol")), None)
    if protocol and recipe == "cpu":
        met = protocol["problems"] >= 200 and protocol["k"] >= 16 and protocol["split"] == "final"
        told = f"{protocol['problems']} problems × {protocol['k']} samples, {protocol['split']} split"
        yield "At least 200 problems of the final split, 16 samples each", told, met


def _levels(stages: Mapping, recipe: str):
    base, zero = stages.get("base"), stages.get("r1_zero")
    if recipe == "cpu" and base:
        p = base["pass_at_1"]
        yield "Base pass@1 between 10 and 30 %", f"{measured(p, base['pass_at_1_ci95'])} %", 0.10 <= p <= 0.30
    if recipe == "cpu" and zero:
        yield (
            "R1-Zero pass@1 at least 80 %",
            f"{measured(zero['pass_at_1'], zero['pass_at_1_ci95'])} %",
            zero["pass_at_1"] >= 0.8,
        )
    if recipe == "cpu" and base and zero:
        told = f"{decimal(zero['pass_at_1'] / base['pass_at_1'])} times" if base["pass_at_1"] else "base at 0"
        yield "R1-Zero at least three times the base", told, zero["pass_at_1"] >= 3 * base["pass_at_1"] > 0


def _length(metrics: Mapping):
    zero = metrics.get("r1_zero", {})
    if zero.get("length_first") is not None and zero.get("length_last") is not None:
        first, last = zero["length_first"], zero["length_last"]
        yield "Response length grows during R1-Zero's RL", f"{decimal(first)} → {decimal(last)} tokens", last > first


def _shape(stages: Mapping, pairs: Mapping):
    def gap(a: str, b: str, words: str, above: bool):
        if diff := pairs.get((a, b)):
            low, high = diff["ci95"]
            told = f"{points(diff['difference'])} points {interval(diff['ci95'], signed=True)}"
            yield words, told, low > 0 if above else high < 0

    yield from gap("dev1", "r1_zero", "Dev1 dips below R1-Zero in accuracy (interval below 0)", above=False)
    zero, r1, dev1 = stages.get("r1_zero"), stages.get("r1"), stages.get("dev1")
    if dev1 and zero:
        a, b = dev1["language_consistency"], zero["language_consistency"]
        met = a is not None and b is not None and a > b
        yield "Dev1 is more readable than R1-Zero (language consistency)", f"{percent(b)} → {percent(a)} %", met
    yield from gap("dev2", "dev1", "Dev2 recovers what Dev1 lost (Dev2 − Dev1 above 0)", above=True)
    yield from gap("r1", "r1_zero", "R1 is above R1-Zero (interval above 0)", above=True)
    if r1 and zero:
        a, b = r1["language_consistency"], zero["language_consistency"]
        known = a is not None and b is not None
        yield "Language consistency of R1 at least 97 %", f"{percent(a)} %", known and a >= 0.97
        yield (
            "R1-Zero's is visibly lower (by 5 points or more)",
            f"{percent(b)} against {percent(a)} %",
            known and a - b >= VISIBLY,
        )
    for name, m in (("R1-Zero", zero), ("R1", r1)):
        if m and m["cons_at_k"] is not None:
            told = f"{percent(m['cons_at_k'])} against {percent(m['pass_at_1'])} %"
            yield f"Majority vote (cons@k) at least pass@1 for {name}", told, m["cons_at_k"] >= m["pass_at_1"]
    yield from gap(
        "distilled",
        "student_rl",
        "The distilled student beats the same student by RL alone beyond the interval",
        above=True,
    )
