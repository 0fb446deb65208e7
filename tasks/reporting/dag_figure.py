"""The DAG as a picture: stages in layers by depth, foreach stages as one box with their count."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.reporting import theme
from tasks.reporting.theme import BLUE, GREEN, INK, MUTED, ORANGE, SOFT

WIDTH, HEIGHT, COLUMN, ROW = 1.5, 0.44, 2.02, 0.86
_KINDS = {  # stages of the recipe that train, and those that are read by people; the rest make data
    "base": BLUE, "student_base": BLUE, "judge": BLUE, "r1_zero": BLUE, "dev1": BLUE, "dev2": BLUE, "dev3": BLUE,
    "reward_models": BLUE, "r1": BLUE, "distill": BLUE, "student_rl": BLUE, "evaluate": GREEN, "report": GREEN,
}  # fmt: skip


def layers(names: Sequence[str], edges: Sequence[Sequence[str]]) -> dict[str, int]:
    """Depth of each node: one more than its deepest predecessor."""
    before = {n: [a for a, b in edges if b == n] for n in names}
    depth: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max((of(a) for a in before[name]), default=-1)
        return depth[name]

    for name in names:
        of(name)
    return depth


def positions(names: Sequence[str], edges: Sequence[Sequence[str]]) -> dict[str, tuple[float, float]]:
    """(x, y) of each node; within a layer, nodes are ordered by the mean height of their neighbours (barycentre, 12 sweeps)."""
    depth = layers(names, edges)
    columns = [[n for n in names if depth[n] == d] for d in range(1 + max(depth.values()))]
    y = {n: i - (len(c) - 1) / 2 for c in columns for i, n in enumerate(c)}
    for sweep in range(12):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            def weight(n: str) -> float:
                near = [y[a] for a, b in edges if b == n] + [y[b] for a, b in edges if a == n]
                return sum(near) / len(near) if near else y[n]

            column.sort(key=lambda n: (weight(n), n))
            for i, n in enumerate(column):
                y[n] = i - (len(column) - 1) / 2
    return {n: (depth[n] * COLUMN, -y[n] * ROW) for n in names}


def reduced(names: Sequence[str], edges: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Edges not implied by a longer way: what a reader needs to see the order."""
    after = {n: [b for a, b in edges if a == n] for n in names}

    def reaches(a: str, b: str) -> bool:
        return any(c == b or reaches(c, b) for c in after[a])

    return [(a, b) for a, b in edges if not any(c != b and reaches(c, b) for c in after[a])]


def draw_dag(results: Mapping, folder: Path, name: str) -> None:
    """Boxes and curves; edges that a longer way implies are left out, as the caption says."""
    from matplotlib.patches import FancyBboxPatch, PathPatch
    from matplotlib.path import Path as Curve

    nodes = {n["name"]: n for n in results["dag"]["nodes"]}
    at = positions(list(nodes), results["dag"]["edges"])
    xs, ys = [p[0] for p in at.values()], [p[1] for p in at.values()]
    width, height = max(xs) - min(xs) + WIDTH + 0.3, max(ys) - min(ys) + HEIGHT + 0.3
    figure, axis = theme.new(width * 0.78, height * 0.78)
    axis.axis("off")
    axis.set_xlim(min(xs) - WIDTH / 2 - 0.15, max(xs) + WIDTH / 2 + 0.15)
    axis.set_ylim(min(ys) - HEIGHT / 2 - 0.15, max(ys) + HEIGHT / 2 + 0.15)
    for a, b in reduced(list(nodes), results["dag"]["edges"]):
        (x0, y0), (x1, y1) = at[a], at[b]
        x0, x1 = x0 + WIDTH / 2, x1 - WIDTH / 2
        bend = max(0.5, 0.45 * (x1 - x0))
        curve = Curve([(x0, y0), (x0 + bend, y0), (x1 - bend, y1), (x1, y1)], [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
        axis.add_patch(PathPatch(curve, facecolor="none", edgecolor=SOFT, linewidth=1.1, zorder=1))
        axis.plot([x1 - 0.01], [y1], marker=5, markersize=4.5, color=MUTED, zorder=2, linestyle="none", clip_on=False)
    for n, (x, y) in at.items():
        colour = _KINDS.get(n, ORANGE)
        box = FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=theme.PAPER, edgecolor=colour, linewidth=1.6, zorder=3,
        )  # fmt: skip
        axis.add_patch(box)
        text = n + (f" ×{len(nodes[n]['items'])}" if nodes[n]["items"] else "")
        axis.text(x, y - 0.01, text, ha="center", va="center", fontsize=9, color=INK, zorder=4)
    theme.save(figure, folder, name)
