"""`r1 plan`: what a recipe would cost, without running anything."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from flows.orchestration.root import find_root
from tasks.reporting.cost import DEVICES

if TYPE_CHECKING:
    from flows.orchestration.plan import Plan, Step

WIDTH = 168  # columns that the table needs; a narrower terminal wraps it


def register(app: typer.Typer) -> None:
    app.command()(plan)


def plan(
    recipe: Annotated[str | None, typer.Option(help="recipes/<name>.yaml or a file; without it, params.yaml")] = None,
    device: Annotated[str | None, typer.Option(help=f"one of {', '.join(DEVICES)}; without it, by the recipe")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="dollars for one device-hour")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Stages, models, rows, tokens, an estimate of device-hours and disk. Runs nothing."""
    from flows.orchestration.plan import make_plan, recipe_values
    from flows.orchestration.recipe import recipe_file

    if device is not None and device not in DEVICES:
        raise typer.BadParameter(f"{device} is none of {', '.join(DEVICES)}", param_hint="--device")
    root = find_root()
    path = recipe_file(root, recipe) if recipe else root / "params.yaml"
    made = make_plan(recipe_values(root, path), root, device)
    if as_json:
        typer.echo(json.dumps(made.as_json(price), indent=1))
    else:
        show(made, price)


def show(made: "Plan", price: float | None) -> None:
    """The plan as a table, its totals and every assumption."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, WIDTH)
    unit, scale = ("CPU-s", 1) if made.device.unit == "CPU" else ("GPU-h", 3600)
    title = f"recipe {made.recipe} on {made.device.name}: an estimate, nothing has run"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for name in ("stage", "what runs", "model"):
        table.add_column(name, no_wrap=True)
    for name in ("params", "rows", "trained", "sampled", "FLOPs", unit, "disk"):
        table.add_column(name, justify="right", no_wrap=True, min_width=9 if name in ("params", "disk") else 7)
    for s in made.steps:
        table.add_row(s.stage, s.does, s.model.split("/")[-1], *_numbers(s), _hours(made.seconds(s) / scale), _count(s.disk, "B"))
    total = made.as_json(price)["total"]
    seconds = total["device_seconds"]
    table.add_section()
    table.add_row(
        "total", "", "", "", "", _count(total["tokens_trained"]), _count(total["tokens_sampled"]),
        f"{total['flops']:.1e}", _hours(seconds / scale), _count(total["disk_bytes"], "B"), style="bold",
    )  # fmt: skip
    console.print(table)
    if price is not None:
        console.print(f"cost: ${total['cost']:,.2f} at ${price:g} per {made.device.unit}-hour")
    published = list(made.published())
    for what, hours, estimated in published:
        console.print(f"{what}: {estimated:,.0f} GPU-hours estimated, {hours:,} published, ratio {estimated / hours:.2f}")
    if published:
        hours, estimated = sum(p[1] for p in published), sum(p[2] for p in published)
        console.print(f"all: {estimated:,.0f} GPU-hours estimated, {hours:,} published, ratio {estimated / hours:.2f}")
    console.print("Assumptions:")
    for note in made.assumptions:
        console.print(f"  - {note}", highlight=False)


def _numbers(s: "Step") -> list[str]:
    if s.size is None:
        params = ""
    elif s.size.active == s.size.total:
        params = _count(s.size.total)
    else:
        params = f"{_count(s.size.total)}/{_count(s.size.active)}"
    flops = s.train_flops + s.sample_flops
    return [params, _count(s.rows), _count(s.trained), _count(s.sampled), f"{flops:.1e}" if flops else ""]


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value else ""


def _count(value: float | None, unit: str = "") -> str:
    if not value:
        return ""
    for scale, suffix in ((1e12, "T"), (1e9, "G" if unit else "B"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g} {suffix}{unit}" if unit else f"{value / scale:.3g}{suffix}"
    return f"{value:.0f}{' ' + unit if unit else ''}"
