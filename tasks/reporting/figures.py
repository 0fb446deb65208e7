"""The pictures of the report, from results.json and the curves. No titles with verdicts: the text says those."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.reporting import theme
from tasks.reporting.dag_figure import draw_dag
from tasks.reporting.theme import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, SOFT

CURVE_TITLES = {
    "reward": "reward", "accuracy": "accuracy, %", "length": "response length, tokens",
    "language": "target-language share, %", "recheck": "re-checking, %",
}  # fmt: skip


def draw_all(results: Mapping, curves: Mapping[str, Mapping[str, Sequence[float | None]]], folder: Path) -> list[str]:
    """Draw every figure that the results have data for; returns their names."""
    with theme.look():
        return _draw_all(results, curves, folder)


def _draw_all(results: Mapping, curves: Mapping, folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for c in results["curves"]:
        if c["stage"] in curves and draw_curves(
            curves[c["stage"]], folder, name := f"curves_{c['stage'].replace('/', '_')}"
        ):
            drawn.append(name)
    for name, draw, ready in (
        ("by_stage", draw_by_stage, results["by_stage"]),
        ("students", draw_students, results["students"]),
        ("funnel", draw_funnel, results["funnel"]),
        ("elicitation", draw_elicitation, results["elicitation"]),
        ("dag", draw_dag, results["dag"]),
    ):
        if ready:
            draw(results, folder, name)
            drawn.append(name)
    return drawn


def smooth(values: Sequence[float | None], span: int) -> list[float | None]:
    """Centred mean over `span` points (fewer at the ends); gaps stay out of the mean."""
    half, out = span // 2, []
    for i in range(len(values)):
        near = [v for v in values[max(0, i - half) : i + half + 1] if v is not None]
        out.append(sum(near) / len(near) if near else None)
    return out


def draw_curves(curve: Mapping[str, Sequence[float | None]], folder: Path, name: str) -> bool:
    """Reward, accuracy, length, language and re-checking over the RL steps: raw thin, smoothed bold."""
    shown = [c for c in CURVE_TITLES if any(v is not None for v in curve.get(c, ()))]
    if not shown or "step" not in curve:
        return False
    figure, axes = theme.new(2.5 * len(shown), 2.1, 1, len(shown), squeeze=False)
    for axis, column in zip(axes[0], shown, strict=True):
        scale = 100 if CURVE_TITLES[column].endswith("%") else 1
        values = [None if v is None else scale * v for v in curve[column]]
        line = [float("nan") if v is None else v for v in values]
        bold = [float("nan") if v is None else v for v in smooth(values, max(3, len(values) // 12))]
        axis.plot(curve["step"], line, color=SOFT, linewidth=0.9)
        axis.plot(curve["step"], bold, color=BLUE, linewidth=1.9)
        axis.set_title(CURVE_TITLES[column])
        axis.set_xlabel("RL step")
        _room(axis, [v for v in values if v is not None], percent=scale == 100)
    theme.save(figure, folder, name)
    return True


def _room(axis, values: Sequence[float], percent: bool) -> None:
    """Limits that do not blow noise up: at least a few points high, and never past 0..100 for a percentage."""
    low, high = min(values), max(values)
    pad = max(0.06 * (high - low), 1.0 if percent else 0.02 * max(abs(high), 1.0))
    low, high = low - pad, high + pad
    axis.set_ylim((max(-1.0, low), min(102.0, high)) if percent else (low, high))


def draw_by_stage(results: Mapping, folder: Path, name: str) -> None:
    """Our stages beside the paper's: reasoning on the left, readability and instruction following on the right."""
    columns = results["by_stage"]
    models = {m["model"]: m for m in results["models"]}
    ours = [models[m] for m in columns["models"]]
    x = range(len(ours))
    figure, (left, right) = theme.new(9.6, 3.3, 1, 2)
    p = [100 * m["pass_at_1"] for m in ours]
    if all(m["pass_at_1_ci95"] for m in ours):
        left.fill_between(
            x, *[[100 * m["pass_at_1_ci95"][i] for m in ours] for i in (0, 1)], color=BLUE, alpha=0.16, linewidth=0
        )
    _line(left, x, p, BLUE, "ours: pass@1", True)
    _line(left, x, columns["paper"]["AIME 2024 pass@1"], MUTED, "paper: AIME 2024", False)
    _line(left, x, columns["paper"]["MATH-500 pass@1"], SOFT, "paper: MATH-500", False)
    left.set_title("reasoning, %")
    language = [None if m["language_consistency"] is None else 100 * m["language_consistency"] for m in ours]
    _line(right, x, language, ORANGE, "ours: language consistency", True)
    _line(right, x, columns["paper"]["IF-Eval prompt strict"], MUTED, "paper: IF-Eval", False)
    right.set_title("readability and instructions, %")
    for axis in (left, right):
        axis.set_xticks(list(x), columns["labels"], color=INK)
        axis.set_ylim(0, 109)
        axis.set_xlim(-0.3, len(ours) - 0.7)
        axis.legend(loc="lower right", fontsize=8, handlelength=2.2)
        axis.grid(axis="x", visible=False)
    theme.save(figure, folder, name)


def _line(axis, x, values: Sequence[float | None], colour: str, label: str, ours: bool) -> None:
    y = [float("nan") if v is None else v for v in values]
    style = (
        {"marker": "o", "markersize": 4.5, "linewidth": 2.2}
        if ours
        else {"marker": "o", "markersize": 3, "linewidth": 1.3, "linestyle": (0, (4, 2.5))}
    )
    axis.plot(list(x), y, color=colour, label=label, **style)
    if ours:
        for i, v in zip(x, y, strict=True):
            dip = i > 0 and y[i - 1] > v  # the line comes from above: the number goes below it
            if v == v:
                first = {"xytext": (9, -4), "ha": "left"}  # beside its point: the line leaves it upwards
                place = (first if i == 0 else {"xytext": (0, -14 if dip else 7), "ha": "center"}) | {
                    "textcoords": "offset points"
                }
                axis.annotate(
                    f"{v:.1f}", (i, v), **place, fontsize=8.5, color=colour, path_effects=theme.halo(), zorder=5
                )


def draw_students(results: Mapping, folder: Path, name: str) -> None:
    """pass@1 with intervals of each student's versions: its base, RL alone, control, distilled."""
    models = {m["model"]: m for m in results["models"]}
    kinds = (("base", "own base", SOFT), ("rl", "RL alone", ORANGE), ("control", "control: generator's CoTs", PURPLE), ("distilled", "distilled from the teacher", BLUE))  # fmt: skip
    rows = [
        (s["student"], label, colour, models[s[kind]])
        for s in results["students"]
        for kind, label, colour in kinds
        if s[kind]
    ]
    figure, axis = theme.new(8.2, 0.7 + 0.34 * len(rows))
    for i, (_student, _label, colour, m) in enumerate(reversed(rows)):
        p, (low, high) = 100 * m["pass_at_1"], [100 * v for v in m["pass_at_1_ci95"]]
        axis.plot([low, high], [i, i], color=colour, linewidth=5, solid_capstyle="round", alpha=0.45)
        axis.plot([p], [i], "o", color=MUTED if colour == SOFT else colour, markersize=6)
        axis.annotate(f"{p:.1f}", (max(high, p), i), (9, 0), textcoords="offset points", va="center", fontsize=8.5)
    axis.set_yticks(range(len(rows)), [f"{s}  ·  {label}" for s, label, _c, _m in reversed(rows)], color=INK)
    axis.set_xlim(-2, 108)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_xlabel("pass@1, %, with 95 % interval")
    axis.grid(axis="y", visible=False)
    theme.save(figure, folder, name)


def draw_funnel(results: Mapping, folder: Path, name: str) -> None:
    """Candidates, then what each rule took away, then what was kept: a waterfall read from top to bottom."""
    f = results["funnel"]
    bars, left = [("candidates", 0, f["candidates"], MUTED)], f["candidates"]
    for rule in f["rules"]:
        left -= rule["rejected"]
        bars.append((rule["rule"], left, rule["rejected"], ORANGE))
    bars.append(("kept", 0, f["kept"], BLUE))
    figure, axis = theme.new(8.2, 0.55 + 0.3 * len(bars))
    for i, (_label, start, width, colour) in enumerate(reversed(bars)):
        axis.barh(i, width, left=start, color=colour, height=0.62)
        sign = "−" if colour == ORANGE and width else ""
        axis.annotate(
            f"{sign}{width:,}", (start + width, i), (5, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    axis.set_yticks(range(len(bars)), [b[0].replace("_", " ") for b in reversed(bars)], color=INK)
    axis.set_xlim(0, 1.12 * max(1, f["candidates"]))
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("candidates")
    theme.save(figure, folder, name)


def draw_elicitation(results: Mapping, folder: Path, name: str) -> None:
    """Before and after the first RL: hollow before, filled after."""
    e = results["elicitation"][0]
    rows = [r for r in e["rows"] if r["before"] is not None and r["after"] is not None]
    figure, axis = theme.new(8.2, 0.75 + 0.3 * len(rows))
    for i, r in enumerate(reversed(rows)):
        a, b = 100 * r["before"], 100 * r["after"]
        axis.plot([a, b], [i, i], color=SOFT, linewidth=2.2, zorder=1)
        axis.scatter(
            [a],
            [i],
            s=38,
            facecolors=theme.PAPER,
            edgecolors=GREEN,
            linewidths=1.7,
            zorder=2,
            label=e["before"] if i == 0 else None,
        )
        axis.scatter([b], [i], s=42, color=GREEN, zorder=3, label=e["after"] if i == 0 else None)
        axis.annotate(
            f"{a:.1f} → {b:.1f}", (106, i), va="center", ha="left", fontsize=8.5, color=MUTED, annotation_clip=False
        )
    axis.set_yticks(range(len(rows)), [r["name"] for r in reversed(rows)], color=INK)
    axis.set_xlim(-2, 128)
    axis.set_xticks([0, 20, 40, 60, 80, 100])
    axis.set_xlabel("%")
    axis.grid(axis="y", visible=False)
    axis.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2, fontsize=8.5)
    theme.save(figure, folder, name)
