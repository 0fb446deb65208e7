"""Checksums: every file is the one its manifest and the lock vouch for, and no file is there that nobody vouches for.

Each file is read once, for its sha256 (the manifest's) and its md5 (the lock's) together. Nothing is believed from a
cache: that a file still has the time and size it had proves nothing about its bits.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tasks.provenance.artifacts import ArtifactError, read_manifest
from tasks.provenance.audit.books import Books, Stage
from tasks.provenance.audit.finding import Collector, Outcome

BLOCK = 1 << 20  # bytes
READERS = 2  # threads; hashing releases the interpreter
DAMAGED = "find out who changed it; `dvc checkout --force` restores it, or delete it and run `r1 run`"


@dataclass(frozen=True)
class Sums:
    sha256: str
    md5: str
    bytes: int


def check(books: Books) -> Outcome:
    """Outputs of every stage against the manifests' sha256, rows and columns, and against the lock's md5."""
    found, sums = Collector(), _sums(books)
    for stage in books.stages.values():
        for out, locked in stage.outs.items():
            mine = {p: s for p, s in sums.items() if p == books.root / out or (books.root / out) in p.parents}
            _against_lock(books, stage, out, locked, mine, found)
            if out.startswith("data/") and (books.root / out).is_dir():
                _against_manifest(books, stage, out, mine, found)
    size = sum(s.bytes for s in sums.values())
    return found.outcome(len(sums), "files", bytes=size)


def _sums(books: Books) -> dict[Path, Sums]:
    """Checksums of every file of every output; links count as what they point at."""
    tops = [books.root / out for stage in books.stages.values() for out in stage.outs]
    listed = sorted({file for top in tops for file in _files(top)})
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(listed, pool.map(_read, listed), strict=True))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (p for p in path.rglob("*") if p.is_file())


def _read(path: Path) -> Sums:
    sha, md5, size, block = hashlib.sha256(), hashlib.md5(), 0, memoryview(bytearray(BLOCK))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(block):
            sha.update(block[:count])
            md5.update(block[:count])
            size += count
    return Sums(sha.hexdigest(), md5.hexdigest(), size)


def _against_lock(books: Books, stage: Stage, out: str, locked: str | None, mine: dict, found: Collector) -> None:
    place = books.root / out
    if not place.exists():
        found.add(out, "is missing", f"fetch it with `dvc pull {out}`, or make it: `r1 run {stage.stage}`")
    elif locked is None:
        found.add(out, "has no md5 in dvc.lock: nothing says what it was made from", f"run `r1 run {stage.stage}`")
    else:
        one = mine[place].md5 if place.is_file() else None
        now = one or books.folder_md5({p.relative_to(place).as_posix(): s.md5 for p, s in mine.items()})
        if now != locked:
            said = f"its md5 is {now[:12]}…" if now else "is an empty folder,"
            found.add(out, f"{said} but dvc.lock says {locked[:12]}…", DAMAGED)


def _against_manifest(books: Books, stage: Stage, out: str, mine: dict[Path, Sums], found: Collector) -> None:
    place = books.root / out
    try:
        manifest = read_manifest(place)
        listed = manifest["files"]
    except (ArtifactError, ValueError, KeyError, TypeError):
        found.add(f"{out}/manifest.json", "is missing or no manifest", f"make it again: `r1 run {stage.stage}`")
        return
    if manifest.get("stage") != stage.stage or manifest.get("params") != stage.params:
        what = "stage" if manifest.get("stage") != stage.stage else "params"
        found.add(f"{out}/manifest.json", f"its {what} differs from what dvc.lock says made it", DAMAGED)
    present = {p.relative_to(place).as_posix() for p in mine} - {"manifest.json"}
    for name in sorted(present - listed.keys()):
        found.add(f"{out}/{name}", "stands in no manifest: nobody vouches for it", "move it out of the artifact")
    for name, entry in listed.items():
        path = place / name
        if name not in present:
            found.add(f"{out}/{name}", "is in the manifest, but not there", DAMAGED)
        elif mine[path].sha256 != entry["sha256"]:
            found.add(f"{out}/{name}", f"its sha256 is {mine[path].sha256[:12]}… but the manifest says {entry['sha256'][:12]}…", DAMAGED)  # fmt: skip
        elif "rows" in entry and (wrong := _other_table(path, entry)):
            found.add(f"{out}/{name}", wrong, DAMAGED)


def _other_table(path: Path, entry: dict) -> str | None:
    """What the manifest says wrongly of a Parquet file's rows and columns."""
    meta = pq.read_metadata(path)
    if meta.num_rows != entry["rows"]:
        return f"has {meta.num_rows:,} rows, its manifest says {entry['rows']:,}"
    columns = {f.name: str(f.type) for f in meta.schema.to_arrow_schema()}
    return None if columns == entry["columns"] else f"has the columns {sorted(columns)}, its manifest says others"
