"""The work folder of a stage, and how what it made gets from there into place: in one rename, or not at all."""

import csv
import errno
import hashlib
import io
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

from flows.orchestration.dag import Node, short_name

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK_WORDS = ("No space left on device", "Disk quota exceeded", "File too large", "os error 28")


def code_version(root: Path, node: Node) -> str:
    """Hash of every code file the stage declares, those in declared folders included."""
    digest = hashlib.sha256()
    for path in sorted({file for declared in node.code for file in _code_files(root / declared)}):
        name = path.relative_to(root).as_posix()
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _code_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts]  # as .dvcignore has it


def fingerprint(root: Path, node: Node, params: dict, code: str) -> str:
    """Name of the work folder: everything that determines the result. Another value, another folder."""
    inputs = {d: _identity(root / d) for d in node.deps if d not in node.code}
    blob = json.dumps([node.stage, node.cmd, params, code, inputs], sort_keys=True, default=str)
    return hashlib.sha256(blob.encode()).hexdigest()[:16]


def _identity(path: Path) -> str:
    """Manifest of an artifact; size and time of whatever has none (it only decides whether old work still counts)."""
    if (path / "manifest.json").is_file():
        return hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    facts = [(p.relative_to(path).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


class Workspace:
    """work/<stage>/<fingerprint>/: state that survives a kill, and out/, which becomes the artifact."""

    def __init__(self, root: Path, node: Node, key: str):
        self.root, self.node = root, node
        self.all = root / "work" / node.stage
        self.folder = self.all / key
        self.resumed = self.folder.is_dir() and any(p.name != "out" for p in self.folder.iterdir())
        shutil.rmtree(self.folder / "out", ignore_errors=True)  # half an artifact of a killed run
        self.outs = {_out_name(path): self.folder / "out" / path for path in node.outs}
        for path in self.outs.values():
            (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)

    def missing(self) -> list[str]:
        """Declared outs that the body left unwritten."""
        return [path for path, made in zip(self.node.outs, self.outs.values(), strict=True) if not _has_content(made)]

    def publish(self, measures: dict[str, str]) -> int:
        """Move the outs into place, write metrics and plots, drop the work folders; bytes published."""
        for path, made in zip(self.node.outs, self.outs.values(), strict=True):
            _swap(made, self.root / path, self.folder / "old")
        for path, text in measures.items():
            write_atomically(self.root / path, text)
        shutil.rmtree(self.all, ignore_errors=True)  # this fingerprint's state is spent, others' is stale
        return sum(disk_bytes(self.root / path) for path in (*self.node.outs, *measures))


def _out_name(path: str) -> str:
    return short_name(path) if path.startswith("data/") else Path(path).name


def _has_content(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _swap(made: Path, place: Path, old: Path) -> None:
    """Rename `made` to `place`; whatever stands there is renamed away first and deleted last."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if made.stat().st_dev != place.parent.stat().st_dev:  # another disk: copy beside the place, then rename
        beside = place.with_name(f".{place.name}.new")
        _remove(beside)
        try:
            shutil.copytree(made, beside) if made.is_dir() else shutil.copy2(made, beside)
        except BaseException:
            _remove(beside)
            raise
        made, old = beside, place.with_name(f".{place.name}.old")
    _remove(old)
    if place.exists() or place.is_symlink():
        os.rename(place, old)
    os.rename(made, place)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by a file with this text; the old one may be a read-only hard link of DVC's cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def as_json(value: Any) -> str:
    """Deterministic JSON; numbers of numpy and torch become plain ones, a number that is none (NaN) null.

    An interval, the pair under a key that ends in _ci95, is written as {low, high}: `dvc metrics` shows mappings and
    numbers and drops lists.
    """
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _bounds(value: Any) -> Any:
    return dict(zip(("low", "high"), value, strict=True)) if isinstance(value, list) and len(value) == 2 else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _bounds(_plain(v)) if str(k).endswith("_ci95") else _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_csv(rows: list[dict]) -> str:
    """A table with the columns of its first row; an absent value is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in _plain(row).items()} for row in rows)
    return out.getvalue()


def disk_bytes(path: Path) -> int:
    return sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())


def disk_is_full(exc: BaseException | None) -> bool:
    """Whether this error, or one it came from, says that nothing more can be written."""
    while exc is not None:
        if getattr(exc, "errno", None) in _DISK_ERRORS or any(w in str(exc) for w in _DISK_WORDS):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
