"""`r1 why`: where one row came from, what was decided about it, and where it ended."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.orchestration.root import ParamsError, find_root

UNKNOWN = 1  # exit status where no row is found


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
    root = find_root()
    books = open_books(root, index or root / "work" / "index")
    if text is None:
        ids, match = [row_id], None
    else:
        match = by_text(books, sys.stdin.read() if text == "-" else text)
        ids = [hit["id"] for hit in match["rows"]]
    tell(books, ids, match, as_json)


def open_books(root: Path, cache: Path):
    """The tables of the checkout with an index of their ids, which is built where something is new."""
    from tasks.provenance.artifacts import ArtifactError
    from tasks.provenance.books import Books

    try:
        books = Books(root, cache, readers(root, cache))
        if not books.tables:
            raise ParamsError(f"{root / 'data'} holds no finished table; build some with `r1 run`, or `dvc pull`")
        if missing := books.index.missing():
            _say(f"indexing the ids of {len({t for t, _ in missing})} tables into {cache}, once")
            books.index.build(_progress)
    except ArtifactError as error:
        raise ParamsError(str(error)) from None
    except OSError as error:
        raise ParamsError(
            f"{error.filename or cache}: {error.strerror}; --index DIR puts the index elsewhere"
        ) from None
    return books


def readers(root: Path, cache: Path) -> dict[str, list[str]]:
    """Artifact -> artifacts of the stages that read it, of dvc.yaml; kept beside the index, for reading it takes a while."""
    files = [root / "dvc.yaml", root / "params.yaml"]
    if not all(f.is_file() for f in files):
        return {}
    digest = hashlib.sha256(b"\0".join(f.read_bytes() for f in files)).hexdigest()
    kept = cache / "readers.json"
    try:
        stored = json.loads(kept.read_text())
        if stored["of"] == digest:
            return stored["readers"]
    except (OSError, ValueError, KeyError):
        pass
    from flows.orchestration.dag import load_dag
    from flows.orchestration.publish import write_atomically

    found: dict[str, list[str]] = {}
    for node in load_dag(root).nodes.values():
        for dep in node.deps:
            if dep.startswith("data/"):
                found.setdefault(dep, []).extend(out for out in node.outs if out.startswith("data/"))
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps({"of": digest, "readers": found}))
    return found


def by_text(books, text: str) -> dict:
    """{"text", "match", "rows"}: which rows have the text, or come near it."""
    from tasks.provenance import texts

    texts.build(books, _progress)
    match, rows = texts.find(books, text)
    if not rows:
        searched = sum(t.rows for t, _ in texts.columns(books))
        _say(f"no text comes near it among {searched:,} rows")
        raise typer.Exit(UNKNOWN)
    return {"text": text, "match": match, "rows": rows}


def tell(books, ids: list[str], match: dict | None, as_json: bool) -> None:
    """The chains, of the first id for people; of near texts only what they are."""
    from tasks.provenance.books import UnknownRow
    from tasks.provenance.chain import chain

    near = match is not None and match["match"] == "nearest"
    told = list(dict.fromkeys(ids))[: None if as_json else 1]
    try:
        found = [] if near and not as_json else [chain(books, id) for id in told]
    except UnknownRow as error:
        if as_json:
            print(json.dumps({"id": error.id, "error": str(error), "near": error.near}, ensure_ascii=False))
        else:
            _say(str(error))
        raise typer.Exit(UNKNOWN) from None
    if as_json:
        whole = found[0] if match is None else match | {"chains": found}
        print(json.dumps(whole, ensure_ascii=False, indent=1, default=str))
        return
    from rich.console import Console

    from tasks.provenance import story

    console = Console(highlight=False, markup=False, soft_wrap=False)
    console.width = max(console.width, 96)
    if match:
        story.matches(match, console)
    for each in found:
        story.told(each, console)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _progress(done: int, of: int, name: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{done} of {of} {name}" if name else "\r\x1b[K")
        sys.stderr.flush()
