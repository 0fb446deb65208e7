"""A forecast as pictures: stacked bars of device-hours by stage and kind of work, and when each stage would run."""

from collections.abc import Mapping, Sequence
from html import escape

from tasks.reporting.theme import BLUE, GREEN, INK, MUTED, ORANGE, PAPER, PURPLE, SOFT

KINDS = {  # kind of work -> its colour and its name in the legend
    "sample": (BLUE, "sampling"),
    "train": (ORANGE, "training"),
    "score": (PURPLE, "scoring"),
    "verify": (GREEN, "verdicts"),
    "curate": (MUTED, "curation"),
    "start": (SOFT, "start"),
}
LABEL, LENGTH, STEP = 190, 560, 20  # pixels


def bars(stages: Sequence[Mapping], unit: str) -> str:
    """SVG: for each stage of a plan's JSON a bar of its device-hours, in pieces by kind of work."""
    shown = [s for s in stages if s["gpu_hours"] > 0]
    most = max((s["gpu_hours"] for s in shown), default=1.0)
    parts = []
    for i, s in enumerate(shown):
        total, x = sum(s["seconds"].values()) or 1.0, float(LABEL)
        parts.append(_text(LABEL - 8, i * STEP + 34, s["stage"], "end", INK))
        for kind, (colour, name) in KINDS.items():
            share = s["seconds"].get(kind, 0.0) / total
            if share:
                width = share * s["gpu_hours"] / most * LENGTH
                title = f"{s['stage']}: {name} {share * s['gpu_hours']:,.3g} {unit}-hours"
                parts.append(_bar(x, i * STEP + 22, width, colour, title))
                x += width
        parts.append(_text(x + 6, i * STEP + 34, f"{s['gpu_hours']:,.3g}", "start", MUTED))
    return _svg(LABEL + LENGTH + 80, len(shown) * STEP + 32, _legend() + parts)


def timeline(stages: Sequence[Mapping]) -> str:
    """SVG: a bar from start to end for each stage, with the number of devices it holds."""
    shown = sorted((s for s in stages if s["wall_hours"] > 0), key=lambda s: s["starts_hours"])
    end = max((s["starts_hours"] + s["wall_hours"] for s in shown), default=1.0)
    parts = []
    for i, s in enumerate(shown):
        x, width = LABEL + s["starts_hours"] / end * LENGTH, s["wall_hours"] / end * LENGTH
        title = f"{s['stage']}: {s['starts_hours']:,.3g} to {s['starts_hours'] + s['wall_hours']:,.3g} hours"
        parts.append(_text(LABEL - 8, i * STEP + 16, s["stage"], "end", INK))
        parts.append(_bar(x, i * STEP + 4, width, BLUE if s["devices"] else SOFT, title))
        parts.append(_text(x + width + 6, i * STEP + 16, f"{s['devices'] or ''}", "start", MUTED))
    return _svg(LABEL + LENGTH + 80, len(shown) * STEP + 12, parts)


def page(title: str, body: str) -> str:
    """A whole HTML file around `body`, without a script or a link out."""
    css = (
        f"body{{font:14px/1.5 system-ui,sans-serif;color:{INK};background:{PAPER};max-width:1200px;margin:2em auto;padding:0 1em}}"
        "table{border-collapse:collapse;font-size:12px}td,th{padding:2px 8px;text-align:right;white-space:nowrap}"
        "td:nth-child(-n+3),th:nth-child(-n+3){text-align:left}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{css}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def _legend() -> list[str]:
    parts, x = [], float(LABEL)
    for colour, name in KINDS.values():
        parts += [_bar(x, 2, 12, colour, name), _text(x + 16, 14, name, "start", MUTED)]
        x += 26 + 6.5 * len(name)
    return parts


def _bar(x: float, y: float, width: float, colour: str, title: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0.5):.1f}" height="15" fill="{colour}"><title>{escape(title)}</title></rect>'


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="Inter, DejaVu Sans, Helvetica, sans-serif" font-size="11">{"".join(parts)}</svg>'
    )
