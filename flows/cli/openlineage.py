"""`r1 openlineage`: the lineage of all stages as OpenLineage events, to a file, to a server, or to standard output."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from flows.orchestration.root import ParamsError, find_root


def register(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n  r1 openlineage --file lineage.ndjson\n\n  r1 openlineage r1 --url http://127.0.0.1:5000\n\n"
        "  r1 openlineage sft_data --rev HEAD~3 --json"
    )(openlineage)


def openlineage(
    targets: Annotated[
        list[str] | None, typer.Argument(help="stages with all they depend on; none: every stage", show_default=False)
    ] = None,
    file: Annotated[Path | None, typer.Option(help="write newline-delimited JSON here", show_default=False)] = None,
    url: Annotated[
        str | None, typer.Option(help="send to this server (its /api/v1/lineage)", show_default=False)
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="path on the server, in place of api/v1/lineage")] = None,
    key_env: Annotated[
        str, typer.Option(help="environment variable that holds the server's key")
    ] = "OPENLINEAGE_API_KEY",
    namespace: Annotated[str, typer.Option(help="of jobs and datasets")] = "r1flow",
    rev: Annotated[
        str | None, typer.Option(help="a commit, tag, branch or DVC experiment; without it, the working tree")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the events as a JSON list")] = False,
) -> None:
    """Export the lineage as OpenLineage events: START and COMPLETE of every stage that dvc.lock knows.

    Facets: schema, row counts, column statistics and version of datasets; source code, its place in git and the parameters
    of runs. The ids of runs follow from the books, so exporting twice tells a catalogue nothing new.

    Exit status: 0; 1 where a target is unknown, the file cannot be written or the server does not take an event.
    """
    from flows.orchestration import openlineage as export
    from flows.orchestration.lineage import Lineage

    if sum((file is not None, url is not None, as_json)) != 1:
        raise ParamsError("say where the events go: one of --file PATH, --url URL or --json")
    books = Lineage.at(find_root(), rev)
    stages = books.dag.select(targets or [])
    events = export.Events(books, namespace).of(stages)
    if as_json:
        typer.echo(json.dumps([export.as_json(event) for event in events], indent=1, ensure_ascii=False))
        return
    if file is not None:
        count, where = export.to_file(events, file), str(file)
    else:
        count, where = export.to_server(events, url, os.environ.get(key_env), endpoint), url
    built = sum(books.records[s].built for s in stages)
    typer.echo(f"{count} events of {built} of {len(stages)} stages to {where}")
