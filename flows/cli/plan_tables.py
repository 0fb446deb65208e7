"""How `r1 plan` shows a forecast: a table in the terminal, in Markdown, or a page with pictures."""

from collections.abc import Sequence
from html import escape

from flows.orchestration.forecast.disk import amount
from flows.orchestration.forecast.plan import Plan
from flows.orchestration.forecast.work import Step

WIDTH = 178  # columns that the table needs; a narrower terminal wraps it
COLUMNS = (
    "stage",
    "what runs",
    "model",
    "params",
    "rows",
    "trained",
    "sampled",
    "FLOPs",
    "hours",
    "on",
    "wall",
    "GB",
    "disk",
)
LEFT = 3  # columns of words


def count(value: float | None, unit: str = "") -> str:
    """1234567 -> 1.23M; nothing for nothing."""
    if not value:
        return ""
    for scale, suffix in ((1e12, "T"), (1e9, "G" if unit else "B"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g} {suffix}{unit}" if unit else f"{value / scale:.3g}{suffix}"
    return f"{value:.0f}{' ' + unit if unit else ''}"


def hours(value: float) -> str:
    """Hours with two or three digits that count."""
    if not value:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def _time(plan: Plan, value: float) -> str:
    """Hours of a GPU, seconds of a core."""
    return (
        hours(value)
        if plan.device.is_gpu
        else f"{value * 3600:,.0f}"
        if value * 3600 >= 10
        else f"{value * 3600:.1f}"
        if value
        else ""
    )


def _header(plan: Plan) -> list[str]:
    unit = "h" if plan.device.is_gpu else "s"
    return [{"hours": f"{plan.device.unit}-{unit}", "wall": f"wall {unit}"}.get(name, name) for name in COLUMNS]


def _row(plan: Plan, s: Step) -> list[str]:
    place = plan.placed[s.stage]
    params = "" if s.shape is None else count(s.shape.total)
    if s.shape and s.shape.active != s.shape.total:
        params += f"/{count(s.shape.active)}"
    memory = f"{plan.peak_gb(s):,.3g}" + ("" if plan.fits(s) else " !") if s.on_device(plan.means) else ""
    return [
        s.stage, s.does, s.model.split("/")[-1], params, count(s.rows), count(s.trained), count(s.sampled),
        f"{s.flops():.1e}" if s.flops() else "", _time(plan, plan.hours(s)), str(place.devices or ""),
        _time(plan, (place.end - place.start) / 3600), memory, count(s.artifact, "B"),
    ]  # fmt: skip


def _totals(plan: Plan) -> list[str]:
    total = plan.as_json()["total"]
    return [
        "total", "", "", "", "", count(total["tokens_trained"]), count(total["tokens_sampled"]), f"{total['flops']:.1e}",
        _time(plan, plan.total_hours), str(plan.devices), _time(plan, plan.wall_hours), "", count(plan.disk.total, "B"),
    ]  # fmt: skip


def show(plan: Plan) -> None:
    """The forecast as a table, its totals, what would not work, and every assumption."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, WIDTH)
    title = f"recipe {plan.recipe} on {plan.devices} {plan.device.name}: a forecast, nothing has run"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for i, (name, header) in enumerate(zip(COLUMNS, _header(plan), strict=True)):
        if i < LEFT:
            table.add_column(header, no_wrap=True, overflow="ellipsis", max_width=(28, 34, 22)[i])
        else:
            table.add_column(
                header,
                justify="right",
                no_wrap=True,
                min_width=max(len(header), 8 if name in ("disk", "params") else 5),
            )
    for s in plan.steps:
        table.add_row(*_row(plan, s))
    table.add_section()
    table.add_row(*_totals(plan), style="bold")
    console.print(table)
    for line in summary(plan):
        console.print(line, highlight=False)
    for warning in plan.warnings():
        console.print(f"! {warning}", highlight=False, style="red")
    console.print("Assumptions:")
    for note in [*plan.notes, *plan.assumed()]:
        console.print(f"  - {note}", highlight=False)


def summary(plan: Plan) -> list[str]:
    """A few lines under the table."""
    disk = plan.disk
    out = [
        f"{hours(plan.total_hours)} {plan.device.unit}-hours, {hours(plan.wall_hours)} hours on {plan.devices} {plan.device.name}",
        f"cost: ${plan.usd:,.2f} at ${plan.price:g} per {plan.device.unit}-hour",
        (
            f"disk: {amount(disk.total)}: {amount(disk.artifacts + disk.checkpoints)} artifacts, {amount(disk.cache)} DVC's cache, "
            f"{amount(disk.work)} resumable state, {amount(disk.downloads)} downloads"
        ),
        "longest chain: " + " → ".join(plan.as_json()["critical_path"]),
    ]
    published = list(plan.published())
    for what, given, estimated in [
        *published,
        *([("all", *map(sum, zip(*(p[1:] for p in published))))] if published else []),
    ]:
        out.append(f"{what}: {estimated:,.0f} GPU-hours estimated, {given:,} published, ratio {estimated / given:.2f}")
    return out


def show_change(before: Plan, after: Plan, changes: dict) -> None:
    """What the changes do to the totals, and to every stage that they move by a hundredth or more."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    said = ", ".join(f"{k} = {v}" for k, v in changes.items())
    table = Table(title=f"what if {said}", title_justify="left", box=box.SIMPLE, pad_edge=False)
    for name in ("", "before", "after", "ratio"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    unit = f"{after.device.unit}-hours"
    for name, was, now, text in (
        (unit, before.total_hours, after.total_hours, hours),
        ("wall hours", before.wall_hours, after.wall_hours, hours),
        ("dollars", before.usd, after.usd, lambda v: f"{v:,.2f}"),
        ("disk", before.disk.total, after.disk.total, lambda v: count(v, "B")),
    ):
        table.add_row(name, text(was), text(now), _ratio(was, now))
    table.add_section()
    was = {s.stage: before.hours(s) for s in before.steps}
    for s in after.steps:
        old, new = was.get(s.stage, 0.0), after.hours(s)
        if abs(new - old) > 0.01 * max(old, new):
            table.add_row(f"{s.stage}, {unit}", hours(old), hours(new), _ratio(old, new))
    console = Console()
    console.width = max(console.width, 100)
    console.print(table)


def _ratio(was: float, now: float) -> str:
    return f"{now / was:.2f}" if was else ""


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "".join("---|" if i < left else "---:|" for i in range(len(header))),
    ]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def markdown(plan: Plan) -> str:
    """One recipe as a Markdown table."""
    header = _header(plan)
    return _markdown(header, [*(_row(plan, s) for s in plan.steps), _totals(plan)], LEFT)


def beside(plans: Sequence[Plan]) -> str:
    """Several recipes in one Markdown table."""
    header = (
        "recipe",
        "on",
        "tokens trained",
        "tokens sampled",
        "FLOPs",
        "device-hours",
        "wall hours",
        "dollars",
        "disk",
        "largest on one device",
    )
    rows = []
    for p in plans:
        total = p.as_json()["total"]
        peak = max((p.peak_gb(s), s.stage) for s in p.steps if s.on_device(p.means))
        rows.append(
            [
                p.recipe, f"{p.devices} {p.device.name}", count(total["tokens_trained"]), count(total["tokens_sampled"]),
                f"{total['flops']:.1e}", hours(p.total_hours), hours(p.wall_hours), f"{p.usd:,.0f}", count(p.disk.total, "B"),
                f"{peak[0]:,.3g} GB, {peak[1]}" + (" (does not fit)" if p.warnings() else ""),
            ]
        )  # fmt: skip
    return _markdown(header, rows, 2)


def page(plan: Plan) -> str:
    """One HTML file that opens offline: the bars, when each stage runs, the table, the assumptions."""
    from tasks.reporting.forecast import picture

    stages = plan.as_json()["stages"]
    head = _header(plan)
    rows = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in _row(plan, s)) + "</tr>" for s in plan.steps)
    lines = "".join(f"<li>{escape(line)}</li>" for line in [*summary(plan), *plan.warnings()])
    notes = "".join(f"<li>{escape(note)}</li>" for note in [*plan.notes, *plan.assumed()])
    return picture.page(
        f"Forecast of recipe {plan.recipe} on {plan.devices} {plan.device.name}",
        f"<ul>{lines}</ul><h2>Where the hours go</h2>{picture.bars(stages, plan.device.unit)}"
        f"<h2>When</h2>{picture.timeline(stages)}<h2>Stages</h2><table><tr>{''.join(f'<th>{escape(h)}</th>' for h in head)}</tr>"
        f"{rows}</table><h2>Assumptions</h2><ul>{notes}</ul>",
    )
