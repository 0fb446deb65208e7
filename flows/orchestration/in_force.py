"""params.yaml belongs to who is building: another recipe is put in force, and an experiment branches off, in between.

`dvc exp run --temp` sets changed tracked files aside for a moment while it makes its copy, and a recipe replaces
params.yaml; a stage that starts just then would read the wrong values. Whoever builds shares a lock, whoever changes
has it alone, and waits for stages that a bare `dvc repro` started.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "params.lock"
POLL = 1.0  # seconds


@contextmanager
def building(root: Path) -> Iterator[None]:
    """While a pipeline runs: nobody changes what is in force. Waits for who is changing it, a few seconds."""
    with _open(root) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextmanager
def changing(root: Path, said=print) -> Iterator[None]:
    """While params.yaml or the tracked files change: nothing is being built. Waits until what is being built is done."""
    told = False
    with _open(root) as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = _held_stages(root)
                if not held:
                    break
                fcntl.flock(lock, fcntl.LOCK_UN)
            except BlockingIOError:
                held = _held_stages(root)
            if not told:
                said(f"waiting for {', '.join(held) or 'a run'} in this checkout: params.yaml is in use until then")
                told = True
            time.sleep(POLL)
        yield


def _open(root: Path):
    path = root / "work" / "locks" / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "ab")


def _held_stages(root: Path) -> list[str]:
    """Stages that are being built here right now, by whomever: those whose lock is taken."""
    held = []
    for path in sorted((root / "work" / "locks").glob("*.lock")):
        if path.name == NAME:
            continue
        with open(path, "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path.stem)
    return held
