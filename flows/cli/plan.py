"""`r1 plan`: what a recipe would cost, without running anything."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.orchestration.root import ParamsError, find_root

if TYPE_CHECKING:
    from flows.orchestration.forecast.plan import Plan

EPILOG = """Examples: `r1 plan --recipe gpu` · `r1 plan --recipe node --gpus 64 --price 2.5` · `r1 plan --recipe paper --json` ·
`r1 plan --recipe gpu --what-if candidates.samples=16 --what-if assume.verify_seconds=1` · `r1 plan --all --markdown`.
docs/plan.md says how it reckons and how far off it was."""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(plan)


def plan(
    recipe: Annotated[str | None, typer.Option(help="recipes/<name>.yaml or a file; without it, params.yaml")] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="how many devices; without it, what the recipe is for", show_default=False)
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu-core, a100-80gb, h100-80gb, h800-80gb or h200-141gb; without it, by the recipe"),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="dollars for one device-hour; without it, $2 a GPU")
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(help="key=value: a key of the recipe, gpus, price, device, or assume.<assumption>"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="all recipes of recipes/ side by side")] = False,
    html: Annotated[Path | None, typer.Option(help="write a page with pictures here")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="print tables in Markdown")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Forecast tokens, GPU-hours, wall time, memory, disk and money of a recipe, stage by stage. Runs nothing."""
    from flows.cli import plan_tables
    from flows.orchestration.forecast.whatif import changes, forecast
    from flows.orchestration.recipe import recipe_file
    from tasks.reporting.forecast.devices import DEVICES

    if device is not None and device not in DEVICES:
        raise typer.BadParameter(f"{device} is none of {', '.join(DEVICES)}", param_hint="--device")
    if price == float("inf"):
        raise typer.BadParameter("expected dollars an hour", param_hint="--price")
    if as_markdown and as_json:
        raise typer.BadParameter("give one of --json and --markdown", param_hint="--markdown")
    root, changed = find_root(), changes(what_if or [])
    if every:
        if recipe or html or what_if:
            raise ParamsError("--all shows the recipes as they are: leave out --recipe, --what-if and --html")
        plans = [forecast(root, recipe_file(root, n), changed, device, gpus, price) for n in _recipes(root)]
        typer.echo(json.dumps([p.as_json() for p in plans], indent=1) if as_json else plan_tables.beside(plans))
        return
    path = recipe_file(root, recipe) if recipe else root / "params.yaml"
    made = forecast(root, path, changed, device, gpus, price)
    before = forecast(root, path, changes([]), device, gpus, price) if what_if else None
    if html:
        _write(html, plan_tables.page(made))
    if as_json:
        typer.echo(json.dumps(_json(made, before, changed.all), indent=1))
    elif as_markdown:
        typer.echo(plan_tables.markdown(made))
    else:
        plan_tables.show(made)
        if before:
            plan_tables.show_change(before, made, changed.all)


def _recipes(root: Path) -> list[str]:
    """Names of the recipes, the known ones from small to large first."""
    known = ("cpu", "gpu", "node", "paper")
    found = sorted(p.stem for p in (root / "recipes").glob("*.yaml"))
    return [n for n in known if n in found] + [n for n in found if n not in known]


def _json(made: "Plan", before: "Plan | None", changed: dict) -> dict:
    out = made.as_json()
    if before:
        was = before.as_json()
        out["what_if"] = {
            "changes": changed, "before": {k: was[k] for k in ("gpu_hours", "wall_hours", "disk_gb", "usd")},
        }  # fmt: skip
    return out


def _write(target: Path, text: str) -> None:
    from flows.orchestration.publish import write_atomically

    if not target.parent.is_dir():
        raise ParamsError(f"--html {target}: there is no folder {target.parent}")
    if target.is_dir():
        raise ParamsError(f"--html {target}: that is a folder; name a file in it")
    write_atomically(target, text)
    typer.echo(f"wrote {target}", err=True)
