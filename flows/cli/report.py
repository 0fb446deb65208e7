"""`r1 report`: draw the HTML report again from what the DAG made, and show the main table."""

import json
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `report` to the r1 command."""
    app.command("report")(report)


def report(
    open_: Annotated[bool, typer.Option("--open", help="Open the HTML report in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json and nothing else.")] = False,
    beside: Annotated[
        list[Path] | None,
        typer.Option(help="Another checkout's results.json, or its folder: print the runs side by side as Markdown."),
    ] = None,
) -> None:
    """Show the report card's main table and where the HTML is."""
    from flows.orchestration.params import find_root
    from tasks.reporting import html, markdown, sources

    root = find_root()
    if beside:
        side_by_side([root, *beside])
        return
    folder = root / "report"
    if missing := [name for name in ("results.json", "report.md", "figures") if not (folder / name).exists()]:
        typer.echo(f"{folder} has no {', '.join(missing)}: make the report with `r1 run report`", err=True)
        raise typer.Exit(2)
    text = (folder / "results.json").read_text()
    if as_json:
        typer.echo(text, nl=False)
        return
    page = html.render(
        json.loads(text), folder / "figures", sources.read_run_book(root / "work" / "runs"), folder / "index.html"
    )
    typer.echo(markdown.main_table((folder / "report.md").read_text()))
    typer.echo(f"\nThe whole report: {page}")
    if open_:
        typer.launch(str(page))


def side_by_side(places: list[Path]) -> None:
    """Several runs of one recipe, e.g. one checkout per seed."""
    from tasks.reporting import beside, markdown

    runs = []
    for place in places:
        file = place if place.is_file() else place / "report" / "results.json"
        if not file.is_file():
            typer.echo(f"{file} is missing: make it there with `r1 run report`", err=True)
            raise typer.Exit(2)
        runs.append(json.loads(file.read_text()))
    try:
        tables = [beside.scores(runs), beside.differences(runs), beside.expectations(runs)]
    except beside.NotComparable as exc:
        typer.echo(str(exc), err=True)
        raise typer.Exit(2) from exc
    typer.echo("\n\n".join(markdown.table(t) for t in tables))
