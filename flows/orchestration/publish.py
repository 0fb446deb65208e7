"""The work folder of a stage, and how what it made gets from there into place: all of it, whenever it is killed.

Finished outs are *sealed* first: everything the stage made stands in work/<stage>/<fingerprint>/out with a list of its
sha256s. Publishing links the sealed files and exchanges each out with what stood in its place in one step, so that no
name is ever without a whole artifact. A kill between the exchanges of two outs leaves the seal: the next run finishes
the publication without doing the work again, and a stage that wants to read a half-published set is told so.
"""

import csv
import ctypes
import errno
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.orchestration.dag import Node

SEAL = "sealed.json"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK_WORDS = ("No space left on device", "Disk quota exceeded", "File too large", "os error 28")
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)
_AT_FDCWD, _EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


class PublishError(Exception):
    """What a stage made cannot be published; the message names the path and why."""


def code_version(root: Path, node: "Node") -> str:
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


def fingerprint(root: Path, node: "Node", params: dict, code: str) -> str:
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
    """work/<stage>/<fingerprint>/: state that survives a kill, and out/, which becomes the artifacts.

    `resumed`: an earlier run left state here. `measures`: path -> text of the metrics and plots of a run that was
    killed after it had finished, whose outs only remain to be published; else None.
    """

    def __init__(self, root: Path, node: "Node", key: str):
        self.root, self.node = root, node
        self.all = root / "work" / node.stage
        self.folder = self.all / key
        self.made = self.folder / "out"
        self.resumed = self.folder.is_dir() and any(p.name != "out" for p in self.folder.iterdir())
        self.outs = {_out_name(path): self.made / path for path in node.outs}
        self.measures = self._sealed()
        if self.measures is None:
            (self.folder / SEAL).unlink(missing_ok=True)
            shutil.rmtree(self.made, ignore_errors=True)  # half an artifact of a killed run
            for path in self.outs.values():
                (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)

    def missing(self) -> list[str]:
        """Declared outs that the body left unwritten."""
        return [path for path, made in zip(self.node.outs, self.outs.values(), strict=True) if not _has_content(made)]

    def seal(self, measures: dict[str, str], **facts: Any) -> None:
        """Vouch for the finished outs: a manifest in each folder, metrics and plots beside them, sha256s of it all."""
        from tasks.provenance.artifacts import sha256, write_manifest  # pyarrow: the command line imports this module

        files: dict[str, str] = {}
        for path, made in zip(self.node.outs, self.outs.values(), strict=True):
            _refuse_links(made, path)
            if made.is_dir():
                for name, entry in write_manifest(made, **facts)["files"].items():
                    files[f"{path}/{name}"] = entry["sha256"]
                files[f"{path}/manifest.json"] = sha256(made / "manifest.json")
            else:
                files[path] = sha256(made)
        for path, text in measures.items():
            write_atomically(self.made / path, text)
            files[path] = sha256(self.made / path)
        write_atomically(self.folder / SEAL, json.dumps({"measures": list(measures), "files": files}, indent=1) + "\n")
        self.measures = measures

    def _sealed(self) -> dict[str, str] | None:
        """The measures of a finished run whose every file is as it was sealed."""
        from tasks.provenance.artifacts import sha256

        try:
            seal = json.loads((self.folder / SEAL).read_text())
            if any(sha256(self.made / name) != found for name, found in seal["files"].items()):
                return None
            return {path: (self.made / path).read_text(encoding="utf-8") for path in seal["measures"]}
        except (OSError, ValueError, KeyError):
            return None

    def publish(self) -> int:
        """Exchange everything sealed with what stands in its place, drop the work folders; bytes published."""
        published = [*self.node.outs, *(self.measures or {})]
        for path in published:
            _swap(self.made / path, self.root / path, self.folder / "new" / path)
        (self.folder / SEAL).unlink()
        shutil.rmtree(self.all, ignore_errors=True)  # this fingerprint's state is spent, others' is stale
        return sum(disk_bytes(self.root / path) for path in published)


def half_published(root: Path, stages: Iterable[str]) -> list[str]:
    """Those of `stages` that were killed while they published: some of their outs may be new and others old."""
    return [stage for stage in stages if any((root / "work" / stage).glob(f"*/{SEAL}"))]


def unseal(root: Path, stage: str) -> None:
    """Forget that the stage was killed while it published: its outs are known to belong together."""
    for seal in (root / "work" / stage).glob(f"*/{SEAL}"):
        seal.unlink(missing_ok=True)


def _out_name(path: str) -> str:
    from flows.orchestration.dag import short_name  # not above: DVC's processes import this module and need no settings

    return short_name(path) if path.startswith("data/") else Path(path).name


def _has_content(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _refuse_links(made: Path, path: str) -> None:
    """An artifact holds its own bytes: what a link points to could change, or lie outside of data/."""
    for found in [made, *(made.rglob("*") if made.is_dir() else ())]:
        if found.is_symlink():
            name = Path(path) / found.relative_to(made)
            raise PublishError(f"{name} is a symbolic link to {os.readlink(found)}: write a file of its own there")


def _swap(made: Path, place: Path, fresh: Path) -> None:
    """Put a linked copy of `made` where `place` is, in one step; what stood there goes last."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if made.stat().st_dev != place.parent.stat().st_dev:  # another disk: copy beside the place
        fresh = place.with_name(f".{place.name}.new")
    _remove(fresh)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(made, fresh, copy_function=_link) if made.is_dir() else _link(made, fresh)
        _exchange(fresh, place)
    finally:
        _remove(fresh)


def _link(source: str | Path, target: str | Path) -> None:
    """A hard link, or a copy where the file system or another disk allows none."""
    try:
        os.link(source, target)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, target)


def _exchange(fresh: Path, place: Path) -> None:
    """Give each of two paths what the other has; without anything at `place`, rename.

    renameat2(RENAME_EXCHANGE) where kernel and file system have it. Elsewhere two renames, between which a kill leaves
    nothing at `place`: the next run publishes it from the seal.
    """
    if not (place.exists() or place.is_symlink()):
        os.rename(fresh, place)
        return
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 and renameat2(_AT_FDCWD, os.fsencode(fresh), _AT_FDCWD, os.fsencode(place), _EXCHANGE) == 0:
        return
    if renameat2 and ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(place))
    old = fresh.with_name(f"{fresh.name}.old")
    _remove(old)
    os.rename(place, old)
    os.rename(fresh, place)
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


def disk_story(exc: BaseException, folder: Path) -> str:
    """What a full disk stopped: the path, how many bytes stand there, how many are free on its disk."""
    named = getattr(exc, "filename", None)
    path = Path(os.fsdecode(named)) if isinstance(named, (str, bytes)) else folder
    standing = next(p for p in (path, *path.parents) if p.exists())
    size = disk_bytes(path) if path.exists() else 0
    free = shutil.disk_usage(standing).free
    return f"{path}: the disk is full after {size:,} bytes of it ({free:,} bytes are free): {exc}"
