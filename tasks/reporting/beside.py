"""Several runs of one recipe side by side, e.g. one per seed: their numbers, their differences, what each met."""

from collections.abc import Mapping, Sequence

from tasks.reporting.tables import Table
from tasks.reporting.words import measured, points


class NotComparable(Exception):
    """Runs whose numbers do not belong in one table; the message names the key that differs."""


def check(runs: Sequence[Mapping]) -> None:
    """Raise NotComparable unless recipe and protocol are the same but for the seed."""
    first = runs[0]
    for other in runs[1:]:
        left, right = ({**r["protocol"], "recipe": r["recipe"], "seed": None} for r in (first, other))
        if differing := [key for key in left if left[key] != right.get(key)]:
            told = ", ".join(f"{key}: {left[key]!r} against {right.get(key)!r}" for key in differing)
            raise NotComparable(f"seed {first['seed']} and seed {other['seed']} differ in more than the seed ({told})")


def scores(runs: Sequence[Mapping]) -> Table:
    """pass@1 and cons@k of every model, one column per run."""
    check(runs)
    k = runs[0]["protocol"]["k"]
    rows = []
    for model in runs[0]["models"]:
        cells = [model["label"]]
        for run in runs:
            m = next((m for m in run["models"] if m["model"] == model["model"]), None)
            cells.append(f"{measured(m['pass_at_1'], m['pass_at_1_ci95'])} / {100 * m['cons_at_k']:.1f}" if m else "–")
        rows.append(tuple(cells))
    header = ("pass@1 [95 %] / cons@" + str(k), *(f"seed {r['seed']}" for r in runs))
    return Table(header, tuple(rows))


def differences(runs: Sequence[Mapping]) -> Table:
    """Paired differences of pass@1 on the same problems, in points, one column per run."""
    compared = [[*r["differences"], *(c for s in r["students"] for c in s["comparisons"])] for r in runs]
    rows = []
    for first in compared[0]:
        found = [next((d for d in run if d["label"] == first["label"]), None) for run in compared]
        rows.append((first["label"], *(f"{points(d['difference'])} [{points(d['ci95'][0])}, {points(d['ci95'][1])}]" if d else "–" for d in found)))
    return Table(("points, paired [95 %]", *(f"seed {r['seed']}" for r in runs)), tuple(rows))


def expectations(runs: Sequence[Mapping]) -> Table:
    """What a faithful miniature should show, and where it did not."""
    rows = []
    for first in runs[0]["expectations"]:
        found = [next((e for e in r["expectations"] if e["expectation"] == first["expectation"]), None) for r in runs]
        cells = [f"{'met' if e['met'] else '**not met**'}: {e['value']}" if e else "–" for e in found]
        rows.append((first["expectation"], *cells))
    text = frozenset(range(len(runs) + 1))
    return Table(("expectation", *(f"seed {r['seed']}" for r in runs)), tuple(rows), text=text)
