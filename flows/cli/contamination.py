"""`r1 contamination A B`: what one set of texts has of another."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

WINDOW = 300  # characters of each text that an example shows around its longest overlap


def register(app: typer.Typer) -> None:
    app.command()(contamination)


def contamination(
    a: Annotated[str, typer.Argument(metavar="A", help="rows to check: a file, directory or glob")],
    b: Annotated[str, typer.Argument(metavar="B", help="items that A must not have, such as an evaluation set")],
    column_a: Annotated[str | None, typer.Option(help="column of A; nested.by.dots, or several,by,commas")] = None,
    column_b: Annotated[str | None, typer.Option(help="column of B")] = None,
    header_a: Annotated[
        str | None, typer.Option(help="column names, by,commas, of CSV files without a header line")
    ] = None,
    header_b: Annotated[str | None, typer.Option(help="the same for B")] = None,
    ngram: Annotated[int, typer.Option(min=3, help="tokens of an n-gram")] = 8,
    max_document_frequency: Annotated[
        int, typer.Option(min=0, help="n-grams in more items of B are boilerplate; 0: none are")
    ] = 10,
    keep_template: Annotated[
        bool,
        typer.Option("--keep-template", help="leave in the openings and endings that nearly all rows of a set share"),
    ] = False,
    examples: Annotated[int, typer.Option(min=0, help="overlaps to print")] = 5,
    html: Annotated[
        Path | None, typer.Option(help="write a report with the texts side by side, one file, no network")
    ] = None,
    html_limit: Annotated[int, typer.Option(min=1, help="overlaps in the report, strongest first")] = 2000,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON: the table and every overlap")] = False,
) -> None:
    """Compare two sets: which items of B stand in A, word for word or by shared n-grams.

    JSONL, JSON, CSV, TSV and Parquet are read, each also gzipped. Without --column-a and --column-b the first of text,
    problem, question, prompt, instruction and quiz is taken; lists of chat messages are understood. Of a folder that
    a stage made, such as data/13_sft_data, the one table with texts is read; where there are several, name one.

    Exact means equal but for case, spacing and punctuation. The table counts items of B and rows of A; the
    examples and the report mark the shared words. Rules and their limits: docs/curation.md, Contamination.

    Exit status: 0 whatever was found; 1 a file cannot be read or written.
    """
    from tasks.curation.contamination_overlap import compare
    from tasks.curation.contamination_sets import read_set
    from tasks.provenance.artifacts import ArtifactError

    here, template = Path.cwd(), not keep_template
    try:
        set_a, set_b = (
            read_set(
                here,
                table_of_texts(here, path, column),
                column,
                template=template,
                progress=_progress,
                header=header and tuple(header.split(",")),
            )
            for path, column, header in ((a, column_a, header_a), (b, column_b, header_b))
        )
    except ArtifactError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    found = compare(set_a, set_b, ngram, max_document_frequency or None, _progress)
    if html:
        from tasks.curation.contamination_report import write_html

        try:
            write_html(found, html, html_limit)
        except OSError as error:
            typer.echo(f"{error.filename or html}: the report cannot be written: {error.strerror}", err=True)
            raise typer.Exit(1) from None
    if as_json:
        json.dump(found.as_json(), sys.stdout, ensure_ascii=False, indent=1)
        sys.stdout.write("\n")
    else:
        show(found, examples)
        if html:
            typer.echo(f"report: {html}")


def table_of_texts(root: Path, path: str, column: str | None = None) -> str:
    """Of an artifact of the DAG the one table with texts (or with `column`), else `path` as it is; raises ArtifactError."""
    from tasks.curation.contamination_sets import USUAL
    from tasks.provenance.artifacts import ArtifactError
    from tasks.provenance.tables import tables

    folder = root / path
    try:
        made = tables(folder) if (folder / "manifest.json").is_file() else []
    except ArtifactError:
        made = []  # a manifest of somebody else's
    if not made:
        return path
    wanted = {column, *(part.strip().split(".")[0] for part in column.split(","))} if column else set(USUAL)
    found = sorted(t.file.relative_to(folder).as_posix() for t in made if wanted & set(t.columns))
    if len(found) != 1:
        has = f"has several ({', '.join(found)}): name one of them, or a glob" if found else "has none"
        raise ArtifactError(f"{path}: one table with a column of {', '.join(sorted(wanted))} is compared, and it {has}")
    return (Path(path) / found[0]).as_posix()


def _progress(message: str) -> None:
    if sys.stderr.isatty():
        print(f"\x1b[K{message}", end="\r", file=sys.stderr, flush=True)


def show(found, examples: int) -> None:
    """The table, then the strongest overlaps of each kind with their spans marked."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if sys.stderr.isatty():
        print("\x1b[K", end="", file=sys.stderr, flush=True)
    console = Console(highlight=False, soft_wrap=True)
    for letter, s in (("A", found.a), ("B", found.b)):
        console.print(Text(f"{letter}  {s.name}, column {s.column}: {len(s.texts):,} rows" + _notes(s)))
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("overlap", no_wrap=True)
    for name in ("items of B", "", "rows of A", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for line in found.table():
        table.add_row(
            line["overlap"],
            f"{line['items']:,}",
            f"{line['items_share']:.1%}",
            f"{line['rows']:,}",
            f"{line['rows_share']:.2%}",
        )
    console.print(table)
    if found.boilerplate:
        console.print(
            f"{found.boilerplate:,} {found.ngram}-grams stand in more than {found.max_document_frequency} items of B: "
            "boilerplate, left out"
        )
    for pair in found.examples(examples):
        console.print()
        kind = "exact" if pair.exact else f"{found.ngram}-gram"
        grams = "n-gram" if pair.shared == 1 else "n-grams"
        console.print(Text(f"{kind}, {pair.coverage:.0%} of the item, {pair.shared:,} shared {grams}", style="bold"))
        for letter, origin, text, spans in found.sides(pair):
            console.print(Text(f"  {letter} {origin}", style="dim"))
            console.print(Text("    ").append_text(_marked(text, spans, console.is_terminal)))


def _notes(s) -> str:
    parts = [f"{s.empty:,} of them empty"] if s.empty else []
    parts += [
        f"without the {where} {printable(text)!r}"
        for where, text in (("opening", s.opening), ("ending", s.ending))
        if text
    ]
    return "".join(f"\n   {part}" for part in parts)


def _marked(text: str, spans: list, colours: bool):
    """A window of the text around its longest span; spans are coloured on a terminal, else between « and »."""
    from rich.text import Text

    longest = max(spans, key=lambda s: s.end - s.start, default=None)
    first = max(0, longest.start - WINDOW // 4) if longest else 0
    last = min(len(text), first + WINDOW)
    line, at = Text("…" if first else ""), first
    for span in spans:
        start, end = max(span.start, first), min(span.end, last)
        if start < end:
            line.append(printable(text[at:start]))
            marked = printable(text[start:end])
            line.append(marked if colours else f"«{marked}»", style="black on yellow" if colours else "")
            at = end
    line.append(printable(text[at:last]))
    return line.append("…" if last < len(text) else "")


def printable(text: str) -> str:
    """One line that cannot steer a terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "�" for c in text)
