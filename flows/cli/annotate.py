"""`r1 annotate`: the human route of the cold start, out to a sheet and back (paper 2.3.1)."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.orchestration.root import ParamsError, find_root

if TYPE_CHECKING:
    from tasks.curation.sheet import ReviewRow

commands = typer.Typer(help="Have people review responses: export a sheet, import their verdicts and edits.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="annotate")


@commands.command("export")
def export(
    stage: Annotated[str, typer.Option(help="the stage whose reviewed rows are written")] = "cold_start",
    out: Annotated[Path, typer.Option(help="sheet to write, .csv or .jsonl")] = Path("review.csv"),
    limit: Annotated[int | None, typer.Option(min=1, help="rows at most")] = None,
) -> None:
    """Write responses to be reviewed; fill in `verdict` (accept, edit, reject), `edited` and `note`, then import."""
    from tasks.curation.annotation import AnnotationError, read_annotations
    from tasks.curation.sheet import write_sheet
    from tasks.provenance.artifacts import ArtifactError

    root = find_root()
    try:
        reviewed = {a.id for a in read_annotations(_store(root, stage))}
        rows = [r for r in _given_out(root, stage) if r.id not in reviewed][:limit]
        written = write_sheet(out, rows)
    except (AnnotationError, ArtifactError) as e:
        _stop(e)
    routes = ", ".join(f"{n} {route}" for route, n in sorted(Counter(r.route for r in rows).items()))
    typer.echo(f"{out}: {written} rows to review ({routes or 'all are reviewed'})")


@commands.command("import")
def import_(
    sheet: Annotated[Path, typer.Argument(help="a filled-in sheet, .csv or .jsonl", show_default=False)],
    annotator: Annotated[str, typer.Option(help="whose verdicts these are", show_default=False)],
    stage: Annotated[str, typer.Option(help="the stage that the sheet was exported from")] = "cold_start",
    partial: Annotated[bool, typer.Option("--partial", help="skip rows that nobody has touched")] = False,
) -> None:
    """Check a filled-in sheet and merge it into the annotations kept in git; nothing is written if a row is at fault."""
    from tasks.curation.annotation import AnnotationError, merge, read_annotations, write_annotations
    from tasks.curation.sheet import ReviewRow, read_sheet
    from tasks.provenance.artifacts import ArtifactError

    root = find_root()
    store = _store(root, stage)
    try:
        old = read_annotations(store)
        known = {a.id: ReviewRow(a.id, a.prompt_id, a.prompt, a.gold, a.text, None, None) for a in old}
        known |= {r.id: r for r in _given_out(root, stage)}
        new = read_sheet(sheet, known, annotator.strip(), partial)
        rows = merge(old, new)
        write_annotations(store, rows)
    except (AnnotationError, ArtifactError) as e:
        _stop(e)
    verdicts = ", ".join(f"{n} {v}" for v, n in sorted(Counter(a.verdict for a in new).items()))
    typer.echo(f"{store.relative_to(root)}: {len(new)} annotations by {annotator.strip()} ({verdicts}), {len(rows)} in all")
    typer.echo(f"`git add {store.relative_to(root)}`, then `r1 run` takes them in from {stage} on")


def _store(root: Path, stage: str) -> Path:
    from flows.orchestration.params import read_yaml

    try:
        return root / read_yaml(root / "params.yaml")[stage]["annotations"]
    except KeyError:
        raise ParamsError(f"params.yaml: {stage}.annotations is missing: only a stage with that key has a human route") from None


def _given_out(root: Path, stage: str) -> list["ReviewRow"]:
    from flows.orchestration.dag import load_dag
    from tasks.curation.sheet import review_rows
    from tasks.provenance.artifacts import read_rows
    from tasks.rows import COMPLETION, DECISION, PROMPT

    node = load_dag(root)[stage]
    prompts = {p["id"]: p for p in read_rows(root / node.inputs["prompts"], "train", PROMPT)}
    folder = root / node.outs[0]
    return review_rows(read_rows(folder, "candidates", COMPLETION), read_rows(folder, "decisions", DECISION), prompts)


def _stop(error: Exception) -> None:
    typer.echo(str(error), err=True)
    raise typer.Exit(1)
