"""The DAG as a picture: stages from top to bottom by depth, foreach stages as one box with their count."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.reporting import theme
from tasks.reporting.theme import BLUE, GREEN, INK, MUTED, ORANGE, SOFT

WIDTH, HEIGHT, COLUMN, ROW, WAYPOINT = 1.5, 0.36, 1.8, 0.78, 0.5
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


def chains(edges: Sequence[tuple[str, str]], depth: Mapping[str, int]) -> dict[tuple[str, str], list[str]]:
    """Each edge as a chain with one waypoint on every layer it passes, so that it is led around the boxes there."""
    return {(a, b): [a, *(f"{a}>{b}#{d}" for d in range(depth[a] + 1, depth[b])), b] for a, b in edges}


def spread(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Places nearest to `wanted` (least squares) whose neighbours keep at least `gaps` between them; order is kept."""
    offsets = [sum(gaps[:i]) for i in range(len(wanted))]
    pools: list[list[float]] = []  # [mean, size]: pool adjacent violators
    for w, o in zip(wanted, offsets, strict=True):
        pools.append([w - o, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (m, n), (k, c) = pools[-2], pools.pop()
            pools[-1] = [(m * n + k * c) / (n + c), n + c]
    flat = [mean for mean, size in pools for _ in range(int(size))]
    return [f + o for f, o in zip(flat, offsets, strict=True)]


def positions(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, tuple[float, float]]:
    """(x, y) of nodes and waypoints: layers by depth, ordered and placed by the mean place of their neighbours."""
    depth = layers(names, edges)
    links = [pair for chain in chains(edges, depth).values() for pair in zip(chain, chain[1:])]
    for chain in chains(edges, depth).values():
        depth |= {point: depth[chain[0]] + i for i, point in enumerate(chain)}
    rows = [[n for n in depth if depth[n] == d] for d in range(1 + max(depth.values()))]
    x = {n: float(i) for row in rows for i, n in enumerate(row)}
    above = {n: [a for a, b in links if b == n] for n in depth}
    below = {n: [b for a, b in links if a == n] for n in depth}
    for sweep in range(24):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            near = {n: (above if down else below)[n] or [n] for n in row}
            wanted = {n: sum(x[m] for m in near[n]) / len(near[n]) for n in row}
            row.sort(key=lambda n: (wanted[n], n))
            half = [WAYPOINT / 2 if "#" in n else COLUMN / 2 for n in row]
            x |= zip(row, spread([wanted[n] for n in row], [a + b for a, b in zip(half, half[1:])]), strict=True)
    return {n: (x[n], -depth[n] * ROW) for n in depth}


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
    edges = reduced(list(nodes), [tuple(e) for e in results["dag"]["edges"]])
    at = positions(list(nodes), edges)
    xs, ys = [p[0] for p in at.values()], [p[1] for p in at.values()]
    width, height = max(xs) - min(xs) + WIDTH + 0.3, max(ys) - min(ys) + HEIGHT + 0.3
    figure, axis = theme.new(width * 0.78, height * 0.78)
    axis.axis("off")
    axis.set_xlim(min(xs) - WIDTH / 2 - 0.15, max(xs) + WIDTH / 2 + 0.15)
    axis.set_ylim(min(ys) - HEIGHT / 2 - 0.15, max(ys) + HEIGHT / 2 + 0.15)
    for chain in chains(edges, layers(list(nodes), edges)).values():
        points, codes = [], []
        for i, (a, b) in enumerate(zip(chain, chain[1:])):
            (x0, y0), (x1, y1) = at[a], at[b]
            y0, y1 = y0 - (HEIGHT / 2 if i == 0 else 0), y1 + (HEIGHT / 2 if b in nodes else 0)
            middle = (y0 + y1) / 2
            points += [(x0, y0)] * (i == 0) + [(x0, middle), (x1, middle), (x1, y1)]
            codes += [Curve.MOVETO] * (i == 0) + [Curve.CURVE4] * 3
        axis.add_patch(PathPatch(Curve(points, codes), facecolor="none", edgecolor=SOFT, linewidth=1.1, zorder=1))
        axis.plot([x1], [y1 + 0.035], marker=7, markersize=4.5, color=MUTED, zorder=2, linestyle="none", clip_on=False)
    for n in nodes:
        x, y = at[n]
        colour = _KINDS.get(n, ORANGE)
        box = FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=theme.PAPER, edgecolor=colour, linewidth=1.6, zorder=3,
        )  # fmt: skip
        axis.add_patch(box)
        text = n + (f" ×{len(nodes[n]['items'])}" if nodes[n]["items"] else "")
        axis.text(x, y - 0.01, text, ha="center", va="center", fontsize=9, color=INK, zorder=4)
    theme.save(figure, folder, name)
