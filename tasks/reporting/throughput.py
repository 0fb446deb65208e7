"""What the steps of RL took, as one SVG of the HTML report: measured times, so it is drawn for the page and kept nowhere.

One column per stage; above, completion tokens a second; below, the seconds of a step stacked: rollout, rewards, training.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

from tasks.reporting.theme import BLUE, GREEN, GRID, INK, MUTED, ORANGE

WIDE, TALL, GAP, LEFT, TOP = 230, 92, 40, 46, 34  # pixels: a panel, the room between two, its margins
POINTS = 120  # across a panel at most; neighbouring steps are averaged
PARTS = (("rollout", BLUE), ("reward", ORANGE), ("training", GREEN))
_VARIABLE = {BLUE: "blue", ORANGE: "orange", GREEN: "green", MUTED: "muted", GRID: "grid", INK: "ink"}


def draw(stages: Mapping[str, Mapping[str, Sequence[float | None]]]) -> str:
    """SVG of {stage: columns of its steps}, see tasks/training/grpo_log.py; "" where there is nothing to draw."""
    shown = {name: _thin(columns) for name, columns in stages.items() if len(columns.get("seconds", ())) > 1}
    if not shown:
        return ""
    width, height = len(shown) * (LEFT + WIDE) + 10, TOP + 2 * TALL + GAP + 46
    parts = [_stage(name, columns, i * (LEFT + WIDE) + LEFT) for i, (name, columns) in enumerate(shown.items())]
    key = "".join(
        f'<rect x="{LEFT + 110 * i}" y="{height - 12}" width="10" height="10" {_fill(colour)}/>'
        + _text(LEFT + 110 * i + 15, height - 3, name, "start")
        for i, (name, colour) in enumerate(PARTS)
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" style="max-width:100%;height:auto" font-size="11" role="img" '
        f'aria-label="seconds and tokens a second of each RL step">{"".join(parts)}{key}</svg>'
    )


def _stage(name: str, columns: Mapping[str, list[float]], x: float) -> str:
    steps = columns["step"]
    at = [x + WIDE * (s - steps[0]) / ((steps[-1] - steps[0]) or 1) for s in steps]
    speed, seconds = columns["tokens_per_second"], columns["seconds"]
    low = TOP + TALL + GAP
    head = _text(x, 14, name, "start", INK, bold=True)
    out = [head, *_frame(x, TOP, max(speed), "tokens/s"), *_frame(x, low, max(seconds), "s/step")]
    line = " ".join(f"{a:.1f},{TOP + TALL * (1 - v / (max(speed) or 1)):.1f}" for a, v in zip(at, speed, strict=True))
    out.append(f'<polyline points="{line}" fill="none" stroke="{_colour(BLUE)}" stroke-width="1.6"/>')
    floor = [0.0] * len(at)
    for part, colour in PARTS:
        top = [a + b for a, b in zip(floor, columns[part], strict=True)]
        there = [(a, low + TALL * (1 - v / (max(seconds) or 1))) for a, v in zip(at, top, strict=True)]
        back = [(a, low + TALL * (1 - v / (max(seconds) or 1))) for a, v in zip(at, floor, strict=True)][::-1]
        area = " ".join(f"{a:.1f},{b:.1f}" for a, b in [*there, *back])
        out.append(f'<polygon points="{area}" {_fill(colour)}/>')
        floor = top
    out.append(_text(x + WIDE, low + TALL + 14, f"step {steps[-1]:.0f}", "end"))
    return "".join(out)


def _frame(x: float, y: float, high: float, unit: str) -> list[str]:
    said = f"{high:,.0f}" if high >= 100 else f"{high:.2g}"
    base = f'<line x1="{x}" x2="{x + WIDE}" y1="{y + TALL}" y2="{y + TALL}" stroke="{_colour(GRID)}"/>'
    return [base, _text(x - 6, y + 8, said, "end"), _text(x - 6, y + TALL, "0", "end"), _text(x, y - 6, unit, "start")]


def _thin(columns: Mapping[str, Sequence[float | None]]) -> dict[str, list[float]]:
    """Means of neighbouring steps, at most POINTS of them."""
    size = math.ceil(len(columns["seconds"]) / POINTS)

    def means(values: Sequence[float | None]) -> list[float]:
        groups = [[v or 0.0 for v in values[i : i + size]] for i in range(0, len(values), size)]
        return [sum(g) / len(g) for g in groups]

    return {name: means(columns[name]) for name in ("step", "seconds", "tokens_per_second", *(p for p, _ in PARTS))}


def _colour(colour: str) -> str:
    return f"var(--{_VARIABLE[colour]}, {colour})"


def _fill(colour: str) -> str:
    return f'fill="{_colour(colour)}"'


def _text(x: float, y: float, words: str, anchor: str, colour: str = MUTED, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{weight} {_fill(colour)}>{escape(words)}</text>'
