"""`r1 audit`: prove the books, or say where they do not hold."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.orchestration.root import ParamsError, find_root

SAMPLE = 8  # rows of each set in the page
BROKEN, UNREADABLE = 1, 2  # exit status


def register(app: typer.Typer) -> None:
    """Add `audit` to the r1 command."""
    app.command("audit")(audit)


def audit(
    as_json: Annotated[bool, typer.Option("--json", help="Print every check with its findings as JSON.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Run only this check; may be given again.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Where the page goes; report/audit.html by default.", show_default=False)
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Rows of each set that the page holds.")] = SAMPLE,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the page with all rows behind it, on 127.0.0.1.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of --serve; 0: any free one.")] = 0,
) -> None:
    """Prove the books: checksums, chains to the sources, row ids, counts, contamination, licences, protocols, git.

    Writes report/audit.html, one file that opens offline; with --only, only where --html asks for it. With --serve its
    browser reads any row of any set.

    Exit status: 0 the books hold (remarks may remain); 1 they do not; 2 there are no readable books.

    r1 audit
    r1 audit --only licences --only contamination --json
    r1 audit --serve --port 8014
    """
    from tasks.provenance.artifacts import ArtifactError

    root = find_root()
    try:
        checks, books = _checked(root, only or ())
    except ArtifactError as error:
        typer.echo(f"there are no books to prove: {error}", err=True)
        raise typer.Exit(UNREADABLE) from None
    held, left_out = all(check.passed for check in checks), _left_out(checks)
    if as_json:
        said = {"passed": held, "not_run": left_out, "commit": books.commit, "checks": [c.as_json() for c in checks]}
        json.dump(said, sys.stdout, ensure_ascii=False, indent=1)
        sys.stdout.write("\n")
    else:
        show(checks)
    sys.stdout.flush()  # what was found must not wait for the page, nor go with it
    page = None
    if html or not left_out:  # part of the audit must not stand where the whole of it is looked for
        page = _page(books, checks, sample, html or root / "report" / "audit.html")
    if not as_json:
        typer.echo(f"\nNot run: {', '.join(left_out)}" if left_out else "")
        if page:
            typer.echo(f"The {'page' if left_out else 'whole audit'}: {page}")
    if serve:
        _serve(books, checks, port)
    raise typer.Exit(0 if held else BROKEN)


def _checked(root: Path, only):
    """The checks that were run, and the books they read."""
    from flows.orchestration.books import books_of
    from tasks.provenance.audit import NAMES
    from tasks.provenance.audit import audit as run

    if unknown := [name for name in only if name not in NAMES]:
        raise ParamsError(f"there is no check {unknown[0]!r}; checks: {', '.join(NAMES)}")
    books = books_of(root)
    checks = run(books, only, _progress)
    _progress("")
    return checks, books


def _left_out(checks) -> list[str]:
    """Names of the checks that were not run."""
    from tasks.provenance.audit import NAMES

    return [name for name in NAMES if name not in {check.name for check in checks}]


def _progress(name: str) -> None:
    if sys.stderr.isatty():
        print(f"\x1b[K{name}", end="\r", file=sys.stderr, flush=True)


def _page(books, checks, sample: int, target: Path) -> Path:
    from tasks.provenance.audit.browse import Browser
    from tasks.reporting import audit_page

    browser = Browser(books)
    rows = browser.samples(sample) if sample else {}
    found, left_out = [c.as_json() for c in checks], _left_out(checks)
    page = audit_page.render(found, browser.sets(), rows, sample, books.commit, left_out=left_out)
    try:
        return audit_page.write(page, target)
    except OSError as error:
        raise ParamsError(
            f"{target}: the page cannot be written: {error.strerror}; --html FILE puts it elsewhere"
        ) from None


def _serve(books, checks, port: int) -> None:
    """Until Ctrl-C."""
    from tasks.provenance.audit.browse import Browser
    from tasks.reporting import audit_page
    from tasks.reporting.audit_server import HOST, server

    browser = Browser(books)
    found, left_out = [c.as_json() for c in checks], _left_out(checks)
    page = audit_page.render(found, browser.sets(), {}, 0, books.commit, live=True, left_out=left_out)
    try:
        running = server(page, browser, port)
    except OSError as error:
        raise ParamsError(
            f"port {port} of {HOST} cannot be used: {error.strerror}; give another --port, or 0"
        ) from None
    typer.echo(f"All rows: http://{HOST}:{running.server_port}/ (Ctrl-C ends it)", err=True)
    try:
        running.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        running.server_close()


def show(checks) -> None:
    """One line for each check, then what was found."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("", "check", "proves"):
        table.add_column(name)
    for name in ("looked at", "seconds"):
        table.add_column(name, justify="right")
    for c in checks:
        mark = Text("holds", "green") if c.passed else Text("FAILS", "red")
        table.add_row(mark, c.name, c.proves, f"{c.outcome.looked_at:,} {c.outcome.unit}", f"{c.seconds:.1f}")
    console.print(table)
    for c in checks:
        for f in (*c.violations, *c.remarks):
            times = f" ({f.rows:,} times)" if f.rows > 1 else ""
            console.print(Text(_plain(f"{c.name}, {f.level}: {f.where}: {f.problem}{times}")))
            for evidence in f.evidence:
                console.print(Text(_plain(f"    {evidence}"), "dim"))
            console.print(Text(_plain(f"    {f.remedy}"), "italic"))


def _plain(text: str) -> str:
    """One line without control characters, which a terminal would obey: rows and names of files may hold any."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
