"""Small pictures as SVG text, without a plotting library: cheap enough to be drawn again and again while a stage runs.

They stand on a page of somebody else's (an <img> of a data: URI), so they bring their paper and name their fonts.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape

from tasks.reporting.theme import BLUE, GRID, INK, MUTED, ORANGE, PAPER, SOFT

WIDTH, HEIGHT, ACROSS = 280, 178, 3  # pixels of a panel; panels in a row
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 32, 28  # its margins
POINTS = 240  # of a line at most; more are averaged
PANELS = 9


def data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def curves(rows: Sequence[Mapping], last: Sequence[str] = ()) -> str | None:
    """A panel for each column that has two numbers or more; x is the first column. None where there is nothing to draw.

    Thin: the values; bold: their mean over a twelfth of the curve. Columns of `last` come last, and only where there is room.
    """
    if not rows:
        return None
    x, *columns = dict.fromkeys(key for row in rows for key in row)
    series = {c: [(float(r[x]), float(r[c])) for r in rows if _number(r.get(c)) and _number(r.get(x))] for c in columns}
    shown = sorted((c for c in columns if len(series[c]) > 1), key=lambda c: c in last)[:PANELS]
    if not shown:
        return None
    across = min(ACROSS, len(shown))
    panels = [
        f'<g transform="translate({WIDTH * (i % across)},{HEIGHT * (i // across)})">{_panel(series[c], c, x)}</g>'
        for i, c in enumerate(shown)
    ]
    return _svg(WIDTH * across, HEIGHT * math.ceil(len(shown) / across), panels)


def funnel(entered: int, rules: Sequence[tuple[str, int]], kept: int) -> str:
    """A bar for what entered, one for what each rule took away, one for what was kept."""
    label = 10 + 6.4 * max([8, *(len(name) for name, _ in rules)])
    scale, step = 460 / max(1, entered), 22
    bars, left = [_bar(0, "entered", 0, entered, MUTED, f"{entered:,}", label, scale)], entered
    for i, (name, taken) in enumerate(rules, 1):
        left -= taken
        said = f"−{taken:,} ({taken / max(1, entered):.1%})" if taken else "0"
        bars.append(_bar(i * step, name.replace("_", " "), left, taken, ORANGE, said, label, scale))
    share = f"{kept:,} ({kept / max(1, entered):.1%})"
    bars.append(_bar((len(rules) + 1) * step, "kept", 0, kept, BLUE, share, label, scale))
    return _svg(round(label + 600), step * len(bars) + 20, [f'<g transform="translate(0,10)">{"".join(bars)}</g>'])


def _bar(y: float, name: str, start: int, width: int, colour: str, said: str, label: float, scale: float) -> str:
    x, long = label + start * scale, max(width * scale, 0.5)
    return (
        _text(label - 8, y + 15, name, "end", INK)
        + f'<rect x="{x:.1f}" y="{y + 3}" width="{long:.1f}" height="16" fill="{colour}"/>'
        + _text(x + long + 6, y + 15, said, "start", MUTED)
    )


def _panel(points: list[tuple[float, float]], title: str, x_name: str) -> str:
    points = _thinned(points)
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high = min(ys), max(ys)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0  # a flat line lies in the middle of its panel
    low, high = low - room, high + room
    wide, tall = (xs[-1] - xs[0]) or 1.0, high - low

    def place(x: float, y: float) -> str:
        at = LEFT + (x - xs[0]) / wide * (WIDTH - LEFT - RIGHT)
        return f"{at:.1f},{TOP + (high - y) / tall * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = [_text(LEFT, 20, f"{title.replace('_', ' ')}: {_short(ys[-1])}", "start", INK, bold=True)]
    for value in _ticks(low, high):
        y = place(xs[0], value).split(",")[1]
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="{GRID}"/>')
        parts.append(_text(LEFT - 6, float(y) + 3.5, _short(value), "end", MUTED))
    parts.append(_text(LEFT, HEIGHT - 10, f"{xs[0]:,.0f}", "start", MUTED))
    parts.append(_text(WIDTH - RIGHT, HEIGHT - 10, f"{xs[-1]:,.0f} {x_name}s".replace("ss", "s"), "end", MUTED))
    parts.append(_line([place(x, y) for x, y in points], SOFT, 1))
    parts.append(_line([place(x, y) for x, y in zip(xs, _smooth(ys), strict=True)], BLUE, 2))
    return "".join(parts)


def _line(places: list[str], colour: str, width: float) -> str:
    return f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(text)}</text>'


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
    paper = f'<rect width="{width}" height="{height}" rx="6" fill="{PAPER}"/>'
    return f'{head}font-family="Inter, DejaVu Sans, Helvetica, sans-serif" font-size="11">{paper}{"".join(parts)}</svg>'


def _number(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most POINTS means of neighbouring points."""
    size = math.ceil(len(points) / POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _smooth(values: list[float]) -> list[float]:
    """Centred mean over a twelfth of the values, fewer at the ends."""
    half = max(3, len(values) // 12) // 2
    near = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(v) / len(v) for v in near]


def _ticks(low: float, high: float) -> list[float]:
    """A few round numbers between `low` and `high`."""
    rough = (high - low) / 4
    unit = 10 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]


def _short(value: float) -> str:
    """1234567 -> 1.23M, 0.000123 -> 0.000123, 12 -> 12."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
