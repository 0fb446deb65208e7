"""Where a run works and publishes: one run for a folder at a time, all of the result or none, a full disk named."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tasks.curation.errors import CurationError

KIND = "curation"  # of an artifact, in its manifest
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "errno 28",
    "max_temp_directory_size",
)


class Place:
    """`out`, and the work folder beside it, held against other runs while the `with` block lasts."""

    def __init__(self, out: Path, work: Path | None):
        self.out = Path(os.path.abspath(out))
        self.given = None if work is None else Path(os.path.abspath(work))
        self.work = self.given or self.out.with_name(f".{self.out.name}.curate")
        self._book = self.out.with_name(f".{self.out.name}.lock")
        self._locks: list = []

    def __enter__(self) -> "Place":
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._hold(self._book, self.out)
        try:
            self._refuse_strangers()
            self.work.mkdir(parents=True, exist_ok=True)
            self._hold(self.work / "lock", self.work)
            self._recover()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self._book.unlink(missing_ok=True)
        for lock in reversed(self._locks):
            lock.close()

    def _hold(self, path: Path, what: Path) -> None:
        """Take the lock of `what`, or say who has it."""
        while True:
            handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - the open file is the lock
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                holder = handle.read().strip() or "another process"
                handle.close()
                raise CurationError(
                    f"{what} is being written by {holder}: wait for it, stop it, or take another folder"
                ) from None
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == os.fstat(handle.fileno()).st_ino:
                    break
            handle.close()  # its holder took the file away between our two lines
        handle.truncate(0)
        handle.write(f"process {os.getpid()} ({' '.join(sys.orig_argv)})")
        handle.flush()
        self._locks.append(handle)

    def _refuse_strangers(self) -> None:
        if self.out.is_dir() and any(self.out.iterdir()):
            try:
                ours = json.loads((self.out / "manifest.json").read_text()).get("kind") == KIND
            except (OSError, ValueError, AttributeError):
                ours = False
            if not ours:
                raise CurationError(f"{self.out} holds something else than curated candidates: choose another folder")
        elif self.out.exists() and not self.out.is_dir():
            raise CurationError(f"{self.out} is a file: choose another folder")

    def _recover(self) -> None:
        """A kill between the two renames of `publish`: the old artifact goes back."""
        old = self._beside("old")
        if old.exists() and not self.out.exists():
            old.rename(self.out)
        for leftover in (old, self._beside("new")):
            shutil.rmtree(leftover, ignore_errors=True)

    def _beside(self, name: str) -> Path:
        return self.out.with_name(f".{self.out.name}.{name}")

    def publish(self, made: Path) -> None:
        """Move a finished folder to `out` by rename; what stood there goes last."""
        new, old = self._beside("new"), self._beside("old")
        if made.stat().st_dev == self.out.parent.stat().st_dev:
            made.rename(new)
        else:
            try:
                with writing(new):
                    shutil.copytree(made, new)
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)
                raise
        if self.out.exists():
            self.out.rename(old)
        new.rename(self.out)
        shutil.rmtree(old, ignore_errors=True)

    def clear(self) -> None:
        """Drop the work folder: all of it where it is ours, what a run made where it was given."""
        for name in ("shards", "converted", "benchmarks", "export", "tables", "runs"):
            shutil.rmtree(self.work / name, ignore_errors=True)
        (self.work / "lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.work.rmdir()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk into an error that names what was being written, how far, and what is free."""
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        written = _size(path)
        folder = next(p for p in (path, *path.parents) if p.exists())
        free = shutil.disk_usage(folder).free
        raise CurationError(
            f"{path}: the disk is full after {written:,} bytes of it ({free:,} bytes are free): {_first_line(error)}. "
            "What was published before is unchanged and finished shards are kept; make room or give --work on "
            "another disk, and run again"
        ) from error


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "errno", None) in _FULL or any(word in str(error) for word in _FULL_WORDS):
            return not isinstance(error, CurationError)
        error = error.__cause__ or error.__context__
    return False


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file())
