"""What has been sampled already, on disk as it comes: a stage that was killed asks again for nothing that is in here.

One line an entry, `<checksum> <JSON of key and value>`, appended and synced before it counts. A kill can tear the last
line and nothing else; it is cut off and said. A line damaged later is passed over and said: what it held is asked again.
"""

import hashlib
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any, Self

_log = logging.getLogger(__name__)


def digest(content: Any) -> str:
    """128-bit key of a request: everything that determines its answer, as JSON."""
    blob = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(blob.encode(), digest_size=16).hexdigest()


class Ledger:
    """Key -> JSON value in the file `path`, from any thread; a context manager. One process writes it at a time."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+b")  # noqa: SIM115 - closed by close()
        self._lock = threading.Lock()
        self._places: dict[str, tuple[int, int]] = {}  # key -> offset and length of its line
        self._read_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def close(self) -> None:
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
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._places[key] = (at, len(line))

    def _read_all(self) -> None:
        at, damaged = 0, 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                _log.warning(
                    "%s: its last line, %d bytes, was torn by a kill: cut off and asked again", self.path, len(line)
                )
                self._file.truncate(at)
                break
            if (entry := _entry(line)) is None:
                damaged += 1
            else:
                self._places[entry["key"]] = (at, len(line))
            at += len(line)
        if damaged:
            _log.warning("%s: %d damaged lines passed over: what they held is asked again", self.path, damaged)


def _sum(blob: bytes) -> bytes:
    return hashlib.blake2b(blob, digest_size=8).hexdigest().encode()


def _entry(line: bytes) -> dict | None:
    """The entry of a line whose checksum holds; else None."""
    checksum, _, blob = line.rstrip(b"\n").partition(b" ")
    return json.loads(blob) if blob and checksum == _sum(blob) else None
