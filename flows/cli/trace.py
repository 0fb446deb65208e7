"""`r1 trace ARTIFACT`: which code, parameters, data and model made it, when, where and by whom; now or at any commit."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from flows.orchestration.root import find_root

if TYPE_CHECKING:
    from flows.orchestration.lineage import Item, Lineage, Record

VALUE = 100  # characters of a parameter that the tree shows; --json has all


def register(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n  r1 trace sft_data\n\n  r1 trace data/17_r1/model.safetensors --up\n\n"
        "  r1 trace prompts --down --mermaid\n\n  r1 trace metrics/r1.json --rev HEAD~3 --json"
    )(trace)


def trace(
    artifact: Annotated[
        str, typer.Argument(help="an artifact, a file of one, or a stage: sft_data, data/17_r1, distill@qwen")
    ],
    up: Annotated[bool, typer.Option("--up", help="all that it was made from (the default)")] = False,
    down: Annotated[bool, typer.Option("--down", help="all that was made from it")] = False,
    rev: Annotated[
        str | None, typer.Option(help="a commit, tag, branch or DVC experiment; without it, the working tree")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON: every stage in full")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="print a Mermaid flow chart")] = False,
) -> None:
    """Where an artifact came from: code, parameters, data, model, md5, commit, duration, machine and who ran it.

    Read from git, dvc.yaml, dvc.lock, params.yaml, the manifests and work/runs. The duration, machine and name are those
    of the run that made this very artifact, where it was made in this checkout; of a fetched one they are not known.

    Exit status: 0, also where the artifact is stale; 1 where nothing of this name exists.
    """
    from flows.orchestration.lineage import Lineage

    books = Lineage.at(find_root(), rev)
    record, path = books.find(artifact)
    path = path or next(iter(record.writes))
    above = books.upstream(record.stage, every=True) if up or not down else ()
    below = books.downstream(record.stage, every=True) if down else ()
    chosen = [s for s in books.records if s in {*above, record.stage, *below}]
    if as_json:
        typer.echo(json.dumps(_whole(books, record, path, chosen), indent=1, ensure_ascii=False))
    elif mermaid:
        typer.echo("\n".join(flow_chart(books, record.stage, chosen)))
    else:
        typer.echo("\n".join(_details(books, record, path, artifact)))
        for title, edges, stages in (("Made from", books.upstream, above), ("Used by", books.downstream, below)):
            if stages:
                typer.echo(f"\n{title}:")
                typer.echo("\n".join(tree(books, record.stage, edges)))


def described(books: "Lineage", record: "Record") -> dict:
    """One stage as JSON: what it was made from, what it gave, the run that made it, and why it is stale."""
    items = lambda found: {p: {"md5": i.md5, "bytes": i.size, "files": i.files} for p, i in found.items()}
    deps = {
        p: v | {"made_by": maker.stage if (maker := books.maker(p)) else None} for p, v in items(record.deps).items()
    }
    manifest = next((m for m in map(books.manifest, record.outs) if m), {})
    return {
        "stage": record.stage, "desc": record.desc, "cmd": record.cmd, "built": record.built,
        "code_version": manifest.get("code"), "code": items(record.code), "params": record.params, "deps": deps,
        "models": models(books, record), "outs": items(record.outs), "metrics": items(record.metrics),
        "plots": items(record.plots), "meta": record.meta, "run": books.book(record.stage),
        "changed_since": books.changes(record.stage),
    }  # fmt: skip


def models(books: "Lineage", record: "Record") -> dict[str, dict[str, str]]:
    """Checkpoints among what the stage read: path -> weights file -> sha256, as their manifests state them."""
    found = {}
    for path in record.deps:
        files = (books.manifest(path) or {}).get("files", {}) if books.maker(path) else {}
        if weights := {name: entry["sha256"] for name, entry in files.items() if name.endswith(".safetensors")}:
            found[path] = weights
    return found


def _whole(books: "Lineage", record: "Record", path: str, chosen: Iterable[str]) -> dict:
    committed = books.committed(path)
    return {
        "artifact": path, "md5": record.writes[path].md5, "stage": record.stage, "rev": books.rev,
        "commit": books.commit, "dirty": list(books.dirty), "recorded_in": committed and vars(committed),
        "stages": {s: described(books, books.records[s]) for s in chosen},
        "edges": [{"from": a, "to": b, "path": p} for a, b, p in edges(books, chosen)],
    }  # fmt: skip


def edges(books: "Lineage", chosen: Iterable[str]) -> list[tuple[str, str, str]]:
    """(maker, reader, path) between these stages; a dep that spans several outputs gives an edge from each maker."""
    chosen = list(chosen)
    found = []
    for stage in chosen:
        for dep in books.records[stage].deps:
            for other in books.upstream(stage):
                writes = books.records[other].writes
                if other in chosen and any(
                    w == dep or f"{w}/".startswith(f"{dep}/") or dep.startswith(f"{w}/") for w in writes
                ):
                    found.append((other, stage, dep))
    return found


def flow_chart(books: "Lineage", stage: str, chosen: list[str]) -> list[str]:
    """Mermaid: a box for each stage with its outputs and their md5, an arrow for each artifact that was read."""
    number = {s: f"s{i}" for i, s in enumerate(chosen)}
    lines = ["flowchart LR"]
    for s in chosen:
        outs = [f"{p} {(i.md5 or 'not built')[:8]}" for p, i in books.records[s].outs.items()]
        lines.append(f'  {number[s]}["{"<br/>".join([f"<b>{s}</b>", *outs])}"]')
    arrows = dict.fromkeys((number[a], number[b]) for a, b, _ in edges(books, chosen))
    return [*lines, *(f"  {a} --> {b}" for a, b in arrows), f"  style {number[stage]} stroke-width:3px"]


def tree(books: "Lineage", stage: str, neighbours) -> list[str]:
    """The stages beyond this one, indented; one that was shown before is only named."""
    lines, seen = [], set()

    def visit(current: str, indent: str) -> None:
        nearest = neighbours(current)
        for i, other in enumerate(nearest):
            last = i == len(nearest) - 1
            again = other in seen and bool(neighbours(other))
            lines.append(f"{indent}{'└─ ' if last else '├─ '}{_line(books, other)}{' (see above)' if again else ''}")
            if other not in seen:
                seen.add(other)
                visit(other, indent + ("   " if last else "│  "))

    visit(stage, "")
    return lines


def _line(books: "Lineage", stage: str) -> str:
    record = books.records[stage]
    outs = ", ".join(f"{p} {_short(i)}" for p, i in record.outs.items())
    changed = books.changes(stage)
    return f"{stage}: {outs}" + (f" [stale: {changed[0]}{_more(changed)}]" if changed else "")


def _short(item: "Item") -> str:
    return item.md5[:8] if item.md5 else "(not built)"


def _more(lines: list[str]) -> str:
    return f", and {len(lines) - 1} more" if len(lines) > 1 else ""


def _details(books: "Lineage", record: "Record", path: str, asked: str) -> Iterable[str]:
    item = record.writes[path]
    files = f", {item.files} files" if item.files else ""
    yield f"{path}  made by {record.stage}: {record.desc}"
    yield f"  md5      {f'{item.md5}  ({item.size:,} bytes{files})' if item.md5 else 'not built: dvc.lock does not know it'}"
    manifest = books.manifest(path) or {}
    inside = next((name for name in manifest.get("files", {}) if f"/{asked}".endswith(f"/{name}")), None)
    if inside:
        entry = manifest["files"][inside]
        rows = f", {entry['rows']:,} rows" if "rows" in entry else ""
        yield f"  file     {inside}  sha256 {entry['sha256']}  ({entry['bytes']:,} bytes{rows})"
    yield from _history(books, path)
    yield from _run(books.book(record.stage))
    code = f"version {manifest['code']}, " if "code" in manifest else ""
    yield f"  code     {code}{len(record.code)} files and folders; {record.cmd}"
    for key, value in record.params.items():
        text = json.dumps(value, ensure_ascii=False)
        yield f"  param    {key} = {text if len(text) <= VALUE else text[: VALUE - 1] + '…'}"
    for dep, found in record.deps.items():
        maker = books.maker(dep)
        yield f"  data     {dep} {_short(found)}{f' from {maker.stage}' if maker else ''}"
    for dep, weights in models(books, record).items():
        yield from (f"  model    {dep}/{name} sha256 {digest}" for name, digest in weights.items())
    yield from (f"  stale    {line}" for line in books.changes(record.stage))


def _history(books: "Lineage", path: str) -> Iterable[str]:
    if books.commit is None:
        yield "  git      not a git repository"
        return
    dirty = f", {len(books.dirty)} paths differ from it: {', '.join(books.dirty[:3])}{'…' * (len(books.dirty) > 3)}"
    yield f"  git      {books.commit[:12]}{dirty if books.dirty else ', clean' if books.rev is None else f' ({books.rev})'}"
    if recorded := books.committed(path):
        yield f"  recorded {recorded.sha[:12]} by {recorded.author}, {recorded.date}: {recorded.subject}"
    else:
        yield "  recorded in no commit yet: dvc.lock of this content is not committed"


def _run(book: dict | None) -> Iterable[str]:
    if book is None:
        yield "  run      not known here: made in another checkout, fetched, or restored from the run cache"
        return
    resumed = " (its last part; it was resumed)" if book.get("resumed") else ""
    machine = ", ".join(filter(None, (book.get("gpu"), book["cpu"])))
    yield f"  run      {book['seconds']:,} s{resumed}, {book['cpu_seconds']:,} CPU-s, started {book['started']}"
    yield f"           by {book['user']} on {book['host']} ({machine}, {book['threads']} threads)"
    state = f"with edits in {', '.join(book['dirty'][:5])}" if book["dirty"] else "clean"
    yield f"           from commit {(book['commit'] or 'none')[:12]}, {state}"
