"""What `r1 why` does, without typer: that library takes longer to load than the answer takes to find."""

import gc
import hashlib
import json
import sys
from pathlib import Path

from flows.orchestration.root import ParamsError, find_root

UNKNOWN = 1  # exit status where no row is found
# What pyarrow looks for as it loads and does without: half of its import time is theirs. No table is in a cloud.
CLOUDS = ("pyarrow._azurefs", "pyarrow._gcsfs", "pyarrow._hdfs", "pyarrow._s3fs")
UNUSED = ("numpy", "cloudpickle", "dateutil", *CLOUDS)


def quickly(words: list[str]) -> None:
    """Answer and exit where the words are an id or --text, and known options; else return, and typer explains them."""
    options, given = {"--text": None, "--index": None}, []
    words, as_json = list(words), False
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word == "--json":
            as_json = True
        elif name in options and (equals or words):
            options[name] = value if equals else words.pop(0)
        elif word.startswith("-"):
            return
        else:
            given.append(word)
    if len(given) + (options["--text"] is not None) != 1:
        return
    if "pyarrow" not in sys.modules:  # or others in this process need them
        for library in UNUSED:
            sys.modules.setdefault(library, None)
    try:
        status = answer(given[0] if given else None, options["--text"], as_json, options["--index"])
    except ParamsError as error:
        sys.exit(str(error))
    if "duckdb" not in sys.modules:  # it would report what is never collected as leaked
        gc.freeze()  # or the interpreter looks through all objects for cycles as it ends
    sys.exit(status)


def answer(row_id: str | None, text: str | None, as_json: bool, index: str | Path | None) -> int:
    """Print the story of a row, by its id or by its text; the exit status. ParamsError where something is damaged."""
    from tasks.provenance.artifacts import ArtifactError

    root = find_root()
    books = open_books(root, Path(index) if index else root / "work" / "index")
    try:
        if text is None:
            return tell(books, [row_id], None, as_json)
        match = by_text(books, sys.stdin.read() if text == "-" else text)
        return tell(books, [hit["id"] for hit in match["rows"]], match, as_json)
    except ArtifactError as error:
        raise ParamsError(str(error)) from None


def open_books(root: Path, cache: Path):
    """The tables of the checkout with an index of their ids, which is built where something is new."""
    from tasks.provenance.artifacts import ArtifactError
    from tasks.provenance.books import Books

    try:
        books = Books(root, cache, **stages(root, cache))
        if not books.tables:
            raise ParamsError(f"{root / 'data'} holds no finished table; build some with `r1 run`, or `dvc pull`")
        if missing := books.index.missing():
            _say(f"indexing the ids of {len({t.file for t, _ in missing})} tables into {cache}, once")
            books.index.build(_progress)
    except ArtifactError as error:
        raise ParamsError(str(error)) from None
    except OSError as error:
        raise ParamsError(
            f"{error.filename or cache}: {error.strerror}; --index DIR puts the index elsewhere"
        ) from None
    return books


def stages(root: Path, cache: Path) -> dict:
    """`outs`: the artifacts of dvc.yaml. `readers`: artifact -> artifacts of the stages that read it.

    Kept beside the index, for reading dvc.yaml takes a while; empty where it cannot be read without params.yaml.
    """
    files = [root / "dvc.yaml", root / "params.yaml"]
    if not all(f.is_file() for f in files):
        return {}
    digest = hashlib.sha256(b"\0".join(f.read_bytes() for f in files)).hexdigest()
    kept = cache / "stages.json"
    try:
        stored = json.loads(kept.read_text())
        if stored.pop("of") == digest:
            return {name: stored[name] for name in ("outs", "readers")}
    except (OSError, ValueError, KeyError):
        pass
    from flows.orchestration.dag import load_dag
    from flows.orchestration.publish import write_atomically

    found: dict[str, list] = {"outs": [], "readers": {}}
    for node in load_dag(root).nodes.values():
        outs = [out for out in node.outs if out.startswith("data/")]
        found["outs"] += outs
        for dep in node.deps:
            if dep.startswith("data/"):
                found["readers"].setdefault(dep, []).extend(outs)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps({"of": digest} | found))
    return found


def by_text(books, text: str) -> dict:
    """{"text", "match", "rows", "unread"}: which rows have the text, or come near it; where none do it is said aloud."""
    from tasks.provenance import texts

    texts.build(books, _progress)
    found = texts.find(books, text)
    if not found["rows"]:
        searched = sum(t.rows for t, _ in texts.columns(books))
        _say(f"no text comes near it among {searched:,} rows")
    return {"text": text} | found


def tell(books, ids: list[str], match: dict | None, as_json: bool) -> int:
    """The chains, of the first id for people; of near texts only what they are. The exit status."""
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
        return UNKNOWN
    if as_json:
        whole = found[0] if match is None else match | {"chains": found}
        print(json.dumps(whole, ensure_ascii=False, indent=1, default=str))
        return 0 if found else UNKNOWN
    if match and not ids:
        return UNKNOWN
    from rich.console import Console

    from tasks.provenance import story

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    console.width = max(console.width, 96)
    if match:
        story.matches(match, console)
    for each in found:
        story.told(each, console)
    return 0


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _progress(done: int, of: int, name: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{done} of {of} {name}" if name else "\r\x1b[K")
        sys.stderr.flush()
