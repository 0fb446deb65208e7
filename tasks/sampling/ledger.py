"""What has been sampled already, on disk as it comes: a stage that was killed asks again for nothing that is in here.

One line an entry, `<checksum> <JSON of key and value>`, appended and synced before it counts. A kill can tear the last
line and nothing else; it is cut off and said. A line damaged later is passed over and said: what it held is asked again.
A second process that opens it is refused: each would take the other's half-written line for a torn one.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any, Self

from tasks.provenance.artifacts import ArtifactError

_log = logging.getLogger(__name__)


def digest(content: Any) -> str:
    """128-bit key of a request: everything that determines its answer, as JSON."""
    blob = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(blob.encode(), digest_size=16).hexdigest()


class Ledger:
    """Key -> JSON value in the file `path`, from any thread; a context manager.

    ArtifactError where another process has it open. The lock is of the process, so that a kill releases it whatever
    children are left.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # unbuffered: what a full disk refused must not be written later, after other lines
        self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - closed by close()
        self._lock = threading.Lock()
        self._places: dict[str, tuple[int, int]] = {}  # key -> offset and length of its line
        try:
            self._take()
            self._read_all()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def close(self) -> None:
        with self._lock:  # not under the hands of a thread that writes
            self._file.close()

    def get(self, key: str) -> Any:
        """The value kept under `key`; None where there is none, or where its line no longer is what was written."""
        with self._lock:
            if (place := self._places.get(key)) is None:
                return None
            entry = _entry(os.pread(self._file.fileno(), place[1], place[0]))
            if entry is None:
                _log.warning("%s: the entry at byte %d was damaged since it was read: asked again", self.path, place[0])
                del self._places[key]
                return None
        return entry["value"]

    def add(self, key: str, value: Any) -> None:
        """Keep `value`; on disk when this returns."""
        blob = json.dumps({"key": key, "value": value}, ensure_ascii=False, separators=(",", ":")).encode()
        line = _sum(blob) + b" " + blob + b"\n"
        with self._lock:
            at = self._file.seek(0, os.SEEK_END)
            try:
                written = 0
                while written < len(line):  # a disk that fills up takes a part first
                    written += self._file.write(line[written:])
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(at)
                raise
            self._places[key] = (at, len(line))

    def _take(self) -> None:
        """The file for this process alone."""
        try:
            fcntl.lockf(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return  # a file system without locks
            raise ArtifactError(
                f"{self.path} is being written by another process: wait for that run, or end it"
            ) from None

    def _read_all(self) -> None:
        at, damaged, torn = 0, 0, 0
        self._file.seek(0)
        with open(self._file.fileno(), "rb", closefd=False) as lines:  # closing a descriptor would release the lock
            for line in lines:
                if not line.endswith(b"\n"):
                    torn = len(line)
                    break
                if (entry := _entry(line)) is None:
                    damaged += 1
                else:
                    self._places[entry["key"]] = (at, len(line))
                at += len(line)
        if torn:
            _log.warning("%s: its last line, %d bytes, was torn by a kill: cut off and asked again", self.path, torn)
            self._file.truncate(at)
        if damaged:
            _log.warning("%s: %d damaged lines passed over: what they held is asked again", self.path, damaged)


def _sum(blob: bytes) -> bytes:
    return hashlib.blake2b(blob, digest_size=8).hexdigest().encode()


def _entry(line: bytes) -> dict | None:
    """The entry of a line whose checksum holds; else None."""
    checksum, _, blob = line.rstrip(b"\n").partition(b" ")
    return json.loads(blob) if blob and checksum == _sum(blob) else None
