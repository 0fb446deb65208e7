"""`r1 impact` and `r1 revoke`: what a bad source, gold or verifier touches, and taking a source back."""

import datetime
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.orchestration.root import ParamsError, find_root

if TYPE_CHECKING:
    from flows.orchestration.impact import Impact
    from flows.orchestration.lineage import Lineage
    from tasks.provenance.impact import Touched

EVALUATION = "evaluate"  # the stage whose tables are shown as evaluations, not as sets


def register(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n  r1 impact --source gsm8k\n\n  r1 impact --prompt prompt_004043e9c3139931570cf5886546e9dc "
        "--rows\n\n  r1 impact --verifier bbc1c5eb --json"
    )(impact)
    app.command(
        epilog='Examples:\n\n  r1 revoke gsm8k --reason "licence withdrawn"\n\n  r1 run\n\n  r1 revoke gsm8k --undo'
    )(revoke)


def impact(
    source: Annotated[str | None, typer.Option(help="if this source (or annotator of cold_start) is revoked")] = None,
    prompt: Annotated[str | None, typer.Option(help="if the gold of the prompt with this id was wrong")] = None,
    verifier: Annotated[
        str | None, typer.Option(help="if this version of a verifier, or of the judge, is faulty")
    ] = None,
    rows: Annotated[bool, typer.Option("--rows", help="list the ids of the rows, a line each: table, tab, id")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, ids of the rows included")] = False,
) -> None:
    """What must be rebuilt, and which rows of which sets, checkpoints and evaluations are touched. Changes nothing.

    Direct rows derive from what is at fault, followed by the rows' own ids; those through a model were sampled from a
    checkpoint that was trained on such rows. DVC rebuilds whole artifacts: where none of a set's rows are touched, the
    same rows are expected to come out again. To rebuild is what is listed at most: DVC stops where nothing changed.

    Exit status: 0 whatever is touched; 1 nothing of this name is known (with the nearest names).
    """
    from flows.orchestration import impact as of
    from flows.orchestration.lineage import Lineage

    given = {"of_source": source, "of_prompt": prompt, "of_verifier": verifier}
    asked = {how: name for how, name in given.items() if name is not None}
    if len(asked) != 1:
        raise typer.BadParameter("give exactly one of --source, --prompt and --verifier")
    ((how, name),) = asked.items()
    books = Lineage.at(find_root())
    found = getattr(of, how)(books, name, ids=rows or as_json)
    if as_json:
        typer.echo(json.dumps(as_dict(found), indent=1, ensure_ascii=False))
    elif rows:
        for t in (t for each in found.touched.values() for t in each):
            for row in t.ids:
                typer.echo(f"{_name(books.root, t)}\t{row}")
    else:
        typer.echo("\n".join(_lines(books, found)))


def as_dict(found: "Impact") -> dict:
    tables = [
        {
            "artifact": path, "table": t.table.name, "kind": t.table.kind, "stage": t.table.stage, "rows": t.table.rows,
            "direct": t.direct, "through_models": t.through, "ids": t.ids,
        }
        for path, each in found.touched.items() for t in each
    ]  # fmt: skip
    checkpoints = [
        {
            "path": c.path, "stage": c.stage, "through": c.through,
            "trained_on": {name: {"direct": n, "rows": of} for name, (n, of) in c.rows.items()},
        }
        for c in found.checkpoints
    ]  # fmt: skip
    return {
        "fault": {found.fault.kind: found.fault.name}, "enters": found.enters, "rebuild": found.rebuild,
        "tables": tables, "checkpoints": checkpoints, "not_here": found.missing, "lower_bounds": bool(found.missing),
        "named_in": found.named_in,
    }  # fmt: skip


def _name(root: Path, t: "Touched") -> str:
    return t.table.file.relative_to(root).as_posix()


def _lines(books: "Lineage", found: "Impact") -> Iterable[str]:
    yield f"{found.fault.kind} {found.fault.name}, at {', '.join(found.enters)}"
    yield f"\nTo rebuild, at most: {len(found.rebuild)} of {len(books.records)} stages: {', '.join(found.rebuild)}"
    hit = {path: [t for t in each if t.any] for path, each in found.touched.items()}
    graded = {path: each for path, each in hit.items() if each and books.maker(path).name == EVALUATION}
    sets = [t for path, each in hit.items() if path not in graded for t in each]
    yield f"\nRows touched in {len(sets)} tables of sets:"
    yield f"  {'rows':>12} {'direct':>12} {'through models':>15}  table"
    for t in sets:
        yield f"  {t.table.rows:12,} {t.direct:12,} {t.through:15,}  {_name(books.root, t)}"
    yield f"\nCheckpoints touched: {len(found.checkpoints) or 'none'}"
    for c in found.checkpoints:
        trained = [f"trained on {n:,} touched of {of:,} rows of {table}" for table, (n, of) in c.rows.items()]
        yield f"  {c.path}: {'; '.join([*trained, *c.through])}"
    yield f"\nEvaluations touched: {len(graded) or 'none'}"
    for path, each in graded.items():
        counts = [f"{t.table.name} {t.direct + t.through:,} of {t.table.rows:,}" for t in each]
        yield f"  {path}: {', '.join(counts)}"
    if found.named_in:
        yield f"\nParameters that name it: {', '.join(found.named_in)}"
    if found.missing:
        yield f"\nNot here, so not counted (`dvc pull` fetches them): {', '.join(found.missing)}"
        yield "Every number of touched rows, checkpoints and evaluations is therefore the least there are."


def revoke(
    source: Annotated[str, typer.Argument(help="a source by its name in params.yaml, or an annotator of cold_start")],
    reason: Annotated[str | None, typer.Option(help="why; required unless --undo")] = None,
    by: Annotated[str | None, typer.Option(help="who decided; without it, git's user.name")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="take the tombstone away again")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Take a source back: a tombstone in data/revoked/, after which `r1 run` rebuilds only what depends on it.

    The source stays in params.yaml and is not read any more; the decisions of the stage say so. A source that is
    revoked already keeps its first tombstone. Nothing is deleted here: old versions of the artifacts stay in git's
    history and DVC's cache until `dvc gc` and git's own means remove them. `r1 impact --source` shows what is touched.

    Exit status: 0 the tombstone stands (with --undo: none does); 1 no source of this name, with the nearest names.
    """
    from flows.orchestration.impact import outside, tombstones
    from flows.orchestration.lineage import Lineage
    from tasks.prompts.revoked import read_tombstones, unknown
    from tasks.provenance.artifacts import ArtifactError

    if not undo and not (reason or "").strip():
        raise typer.BadParameter("say why: --reason TEXT")
    books = Lineage.at(find_root())
    known = outside(books)
    try:
        stones = {stage: read_tombstones(books.root / tombstones(stage)) for stage in known}
    except ArtifactError as exc:
        raise ParamsError(str(exc)) from None
    stages = [s for s, names in known.items() if source in names or (undo and source in stones[s])]
    if not stages:
        raise ParamsError(str(unknown(source, [n for each in (*known.values(), *stones.values()) for n in each])))
    changed = [s for s in stages if (source in stones[s]) is undo]
    _write(books, source, {s: known[s].get(source, "source") for s in changed}, stones, reason, by, undo)
    after = [s for s in books.records if s in changed or any(s in books.downstream(c, every=True) for c in changed)]
    if as_json:
        standing = {s: asdict(stones[s][source]) for s in stages if source in stones[s]}
        files = [tombstones(s) for s in changed]
        typer.echo(json.dumps({"source": source, "tombstones": standing, "changed": files, "rebuild": after}, indent=1))
    else:
        typer.echo("\n".join(_told(books, source, stages, changed, after, stones, undo)))


def _write(
    books: "Lineage", source: str, changed: dict, stones: dict, reason: str | None, by: str | None, undo: bool
) -> None:
    """Write the files of tombstones of the `changed` stages (stage -> "source" or "annotator"); `stones` follows."""
    from flows.orchestration.git import git
    from flows.orchestration.impact import tombstones
    from tasks.prompts.revoked import Tombstone, write_tombstones

    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    who = by or (git(books.root, "config", "user.name") or b"").decode().strip()
    if changed and not undo and not who:
        raise ParamsError("git has no user.name here: say who decides, --by NAME")
    for stage, what in changed.items():
        if undo:
            del stones[stage][source]
        else:
            stones[stage][source] = Tombstone(what, source, reason.strip(), who, today)
        write_tombstones(books.root / tombstones(stage), stones[stage].values())


def _told(
    books, source: str, stages: list[str], changed: list[str], after: list[str], stones: dict, undo: bool
) -> Iterable[str]:
    from flows.orchestration.impact import named_in, tombstones

    for stage in stages:
        if stage not in changed:
            stone = stones[stage].get(source)
            already = f"revoked already, by {stone.by} on {stone.on}: {stone.reason}" if stone else "not revoked"
            yield f"{source} of {stage}: {already}; nothing changed"
    if not changed:
        return
    files = " ".join(tombstones(s) for s in changed)
    yield f"{source}: {'no longer revoked' if undo else 'revoked'} in {files}"
    yield f"`r1 run` or `dvc repro` will rebuild at most {len(after)} of {len(books.records)} stages: {', '.join(after)}"
    if not undo and (keys := named_in(books.values, source)):
        yield f"These parameters still name it; a stage left without any rows stops and says so: {', '.join(keys)}"
    verb = "Take back the revocation" if undo else "Revoke"
    yield f'Commit it: git add {files} && git commit -m "{verb} {source}"'
