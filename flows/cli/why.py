"""`r1 why`: where one row came from, what was decided about it, and where it ended."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command()(why)


def why(
    row_id: Annotated[
        str | None,
        typer.Argument(
            help="Id of any row, its first digits, or `SOURCE ORIGIN` of a prompt, dropped or kept.", show_default=False
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Find the row by its text instead; - reads it from standard input.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for machines.")] = False,
    index: Annotated[
        Path | None, typer.Option(help="Folder of the row index; by default work/index.", show_default=False)
    ] = None,
) -> None:
    """Why a row was kept or rejected: prompt and source, siblings, sampling, verdict, every rule, duplicates, contamination
    evidence, and the sets and checkpoints it ended in.

    Takes prompts, completions (of evaluations too), SFT examples, preference pairs, safety labels, and rows of a source
    that never became a prompt. The first call after a rebuild indexes the ids of what is new; others read that.

    Exit status: 0, also for a rejected row; 1 where there is no such row; then the ids or texts that come near are named.

    r1 why completion_000ac8f4b54ba57e63bbf6c290219c9c
    r1 why 000ac8f4
    r1 why "gsm8k data/raw/gsm8k/train.jsonl:17"
    r1 why --text "Natalia sold clips to 48 of her friends" --json
    """
    if (row_id is None) == (text is None):
        raise typer.BadParameter("give an id or --text", param_hint="ROW_ID")
    from flows.cli.why_quickly import answer

    raise typer.Exit(answer(row_id, text, as_json, index))
