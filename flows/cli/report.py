"""`r1 report`: draw the HTML report again from what the DAG made, and show the main table."""

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `report` to the r1 command."""
    app.command("report")(report)


def report(
    open_: Annotated[bool, typer.Option("--open", help="Open the HTML report in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json and nothing else.")] = False,
) -> None:
    """Show the report card's main table and where the HTML is."""
    from flows.orchestration.params import find_root
    from tasks.reporting import html, markdown, sources

    root = find_root()
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
