"""`r1 ui`: the Prefect UI of this checkout, up when the command returns; `r1 ui --stop` leaves nothing of it."""

import json
from typing import Annotated

import typer

from flows.orchestration.root import find_root


def register(app: typer.Typer) -> None:
    app.command()(ui)


def ui(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of 127.0.0.1; default: R1_UI_PORT, else 4200.", show_default=False),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End it and every run that was triggered from it.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say whether it is up; exit status 1 where not.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: up, url, api.")] = False,
) -> None:
    """Start the Prefect UI of this checkout and serve its deployments; prints the address once all is ready.

    Works with no internet and sends no telemetry. Its data lies in .prefect/, which git ignores; R1_UI_DATABASE names
    another database. A second call finds the first one's. The server is a window: runs do not depend on it.

    Examples: `r1 ui`; `r1 ui --port 4300`; `r1 ui --status --json`; `r1 ui --stop`.
    """
    from flows.orchestration import serve

    root = find_root()
    if stop:
        count = serve.stop(root)
        _say(as_json, None, f"stopped {count} processes" if count else "it was not running")
        return
    if status:
        keeper = serve.running(root)
        url = (keeper or {}).get("url")
        _say(as_json, url, f"up at {url}" if url else "not running; `make ui` starts it")
        raise typer.Exit(0 if url else 1)
    url, was_up = serve.start(serve.window(root, port))
    shell = f"Runs from a shell appear there too: PREFECT_API_URL={url}/api .venv/bin/r1 run"
    _say(as_json, url, f"{url}{' (it was up already)' if was_up else ''}\n{shell}\n`make ui-stop` ends it.")


def _say(as_json: bool, url: str | None, words: str) -> None:
    typer.echo(json.dumps({"up": bool(url), "url": url, "api": url and f"{url}/api"}) if as_json else words)
