"""One look for every figure: a small colour-blind-safe palette, thin grid, and deterministic files.

Each figure is written twice: PNG for the README, SVG for the HTML report, where its colours become CSS variables so
that it follows the reader's light or dark scheme.
"""

import re
from pathlib import Path

INK, MUTED, GRID, PAPER = "#1f2328", "#6e7681", "#e4e7eb", "#ffffff"
BLUE, ORANGE, GREEN, PURPLE = "#0067a5", "#c9540a", "#00875f", "#9a4f8f"  # after Okabe and Ito, darker for thin lines
SOFT = "#c3cad3"  # marks that are context
_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--paper", BLUE: "--blue", ORANGE: "--orange",
    GREEN: "--green", PURPLE: "--purple", SOFT: "--soft",
}  # fmt: skip
FONT = "DejaVu Sans"  # comes with matplotlib, so the same everywhere
RC = {
    "font.family": FONT, "font.size": 9, "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelsize": 8.5, "axes.labelcolor": MUTED, "axes.edgecolor": GRID, "axes.linewidth": 0.8, "axes.titlecolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID,
    "grid.linewidth": 0.8, "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "xtick.major.size": 0, "ytick.major.size": 0, "text.color": INK, "figure.facecolor": PAPER, "axes.facecolor": "none",
    "savefig.facecolor": PAPER, "svg.fonttype": "none", "legend.frameon": False, "figure.dpi": 100, "path.simplify": False,
}  # fmt: skip


def look():
    """Context in which everything is drawn in the report's look."""
    from matplotlib import rc_context

    return rc_context(RC)


def halo() -> list:
    """A thin rim of paper around a text that lies on a line."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground=PAPER)]


def new(width: float, height: float, rows: int = 1, columns: int = 1, **kwargs):
    """(figure, axes) in the report's look, without pyplot and its global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns, **kwargs)


def save(figure, folder: Path, name: str) -> None:
    """folder/name.png and folder/name.svg; the same figure gives the same bytes."""
    from matplotlib import rc_context

    folder.mkdir(parents=True, exist_ok=True)
    with rc_context({**RC, "svg.hashsalt": f"r1flow-{name}"}):
        figure.savefig(folder / f"{name}.png", dpi=170, metadata={"Software": None})
        figure.set_layout_engine("none")  # as laid out for the PNG
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    path = folder / f"{name}.svg"
    path.write_text(_themed(path.read_text(), name))


def _themed(svg: str, name: str) -> str:
    """Colours as CSS variables with the light colour as fallback; ids apart from those of other figures."""
    svg = svg[svg.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        svg = re.sub(colour, f"var({variable}, {colour})", svg, flags=re.IGNORECASE)
    svg = svg.replace(f"'{FONT}'", "var(--font, 'DejaVu Sans'), sans-serif")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
