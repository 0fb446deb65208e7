"""Limits of the whole machine, CPU slots and GPUs, as locks of the operating system that a stage takes where it runs.

So they bind `dvc repro`, `python -m flows.…`, `r1 run` and a work pool's worker alike, in every checkout and for every
user, and the kernel gives them back however their holder ends. A CPU slot is a core: a stage takes `threads` of them.

R1_CPU_SLOTS: how many (0: no limit); default: the cores this process may use.
R1_SLOTS_DIR: where the locks lie; default /tmp/r1flow-slots, the same for all.
"""

import fcntl
import getpass
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import IO

from flows.orchestration.root import ParamsError

FOLDER, COUNT = "R1_SLOTS_DIR", "R1_CPU_SLOTS"
DEVICES, DRIVER = Path("/dev"), Path("/proc/driver/nvidia/gpus")
TICK = 0.2  # seconds between looks at what may have become free


class Held(list):
    """Open files that are locks: held until `close`, or until this process ends."""

    def close(self) -> None:
        for handle in self:
            handle.close()
        self.clear()


def cpus() -> list[str]:
    """Names of the CPU slots: numbers of cores, so that processes bound to different cores do not wait for another."""
    if given := os.environ.get(COUNT):
        if not given.isdigit():
            raise ParamsError(f"{COUNT} is {given!r}; expected how many slots, 0 for no limit")
        return [str(i) for i in range(int(given))]
    return [str(core) for core in sorted(os.sched_getaffinity(0))]


def gpus() -> list[str]:
    """CUDA's names of the accelerators this process may use: those in CUDA_VISIBLE_DEVICES, else all of the machine."""
    if not (DEVICES / "nvidiactl").exists():
        return []
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        names = [name.strip() for name in given.split(",")]
        return list(takewhile(lambda name: name and not name.startswith("-"), names))  # CUDA, too, stops there
    return [str(index) for index in range(len(_minors()))]


def _minors() -> list[str]:
    """Numbers that the driver gives the accelerators, in the order of CUDA's indices; a container may see some only."""
    found = [re.fullmatch(r"nvidia(\d+)", p.name) for p in DEVICES.iterdir()]
    return sorted((m[1] for m in found if m), key=int)


def _minor(name: str) -> str:
    """The driver's number of an accelerator that CUDA calls by index or UUID, so that both names are one lock."""
    if name.isdigit():
        minors = _minors()
        return minors[int(name)] if int(name) < len(minors) else name
    for file in DRIVER.glob("*/information"):
        said = dict(re.findall(r"^([\w ]+):[ \t]*(.*?)[ \t]*$", file.read_text(errors="replace"), re.MULTILINE))
        if said.get("GPU UUID", "").startswith(name) and "Device Minor" in said:
            return said["Device Minor"]
    return name  # such as a MIG instance


def take(stage: str, gpu: int, threads: int, say: Callable[[str], None] = print) -> Held:
    """Wait for the accelerators and the CPU slots of a stage and take them; it sees no other accelerator afterwards.

    Accelerators first, for every stage: nobody waits for one while holding what its holder waits for.

    Args:
        stage: who takes them, for those who wait.
        gpu: accelerators; as many as there are where there are fewer, none on a machine without.
        threads: CPU slots; all where there are fewer.
        say: told what it waits for, once for each of the two.
    Raises:
        ParamsError: no locks can be made in R1_SLOTS_DIR.
    """
    held = Held()
    if gpu and (names := gpus()):
        taken = _take("gpu", names, min(gpu, len(names)), stage, say, held)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
    if names := cpus():
        _take("cpu", names, min(threads, len(names)), stage, say, held)
    return held


def _take(kind: str, names: Sequence[str], wanted: int, stage: str, say: Callable, held: Held) -> list[str]:
    """Names of the `wanted` slots that were taken. One at a time collects, so that nobody starves or livelocks."""
    folder, got = _folder(), []
    told = False
    while not (turn := try_lock(folder / f"{kind}.turn", 0o666)):
        told = told or _tell(kind, names, wanted, folder, say)
        time.sleep(TICK)
    with turn:
        while len(got) < wanted:
            for name in names:
                if name not in got and len(got) < wanted and (slot := try_lock(_file(folder, kind, name), 0o666)):
                    sign(slot, f"stage {stage}")
                    held.append(slot)
                    got.append(name)
            if len(got) < wanted:
                told = told or _tell(kind, names, wanted, folder, say)
                time.sleep(TICK)
    if told:
        say(f"{stage}: goes on with {kind} {', '.join(got)}")
    return sorted(got, key=names.index)


def _file(folder: Path, kind: str, name: str) -> Path:
    name = _minor(name) if kind == "gpu" else name
    return folder / f"{kind}-{re.sub(r'[^A-Za-z0-9-]', '_', name)}.lock"


def _tell(kind: str, names: Sequence[str], wanted: int, folder: Path, say: Callable) -> bool:
    """Say whom we wait for, if anybody: True once it was said."""
    holders = {name: read_holder(_file(folder, kind, name)) for name in names}
    said = "; ".join(f"{kind} {name}: {who}" for name, who in holders.items() if who)
    say(f"waits for {wanted} of {len(names)} {kind} slots of this machine" + (f"; {said}" if said else ""))
    return True


def _folder() -> Path:
    folder = Path(os.environ.get(FOLDER) or "/tmp/r1flow-slots")
    try:
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(PermissionError):  # another user made it in between
                folder.chmod(0o1777)
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise NotADirectoryError(f"{folder} is no folder")
    except OSError as exc:
        raise _unusable(folder, exc) from None
    return folder


def _unusable(folder: Path, exc: OSError) -> ParamsError:
    return ParamsError(f"no locks in {folder} ({exc}): set {FOLDER} to a folder that all its users can write")


def try_lock(path: Path, mode: int = 0o644, patience: float = 0.0) -> IO[str] | None:
    """The open file that is the lock, or None where somebody holds it, for `patience` seconds and longer."""
    try:
        handle = os.fdopen(_open(path, mode), "r+", encoding="utf-8", errors="replace")
    except OSError as exc:
        raise _unusable(path.parent, exc) from None
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= end:
                handle.close()
                return None
            time.sleep(0.05)


def _open(path: Path, mode: int) -> int:
    """O_CREAT only where there is no file: Linux refuses it on another user's file in a folder like /tmp."""
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        with suppress(FileExistsError):
            made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            os.fchmod(made, mode)  # whatever the umask
            return made


def sign(handle: IO[str], what: str) -> None:
    """Write into a lock who holds it, for whom it keeps waiting."""
    handle.seek(0)
    handle.truncate()
    handle.write(f"process {os.getpid()} of {_user()}, since {time.strftime('%H:%M:%S')}, {what}")
    handle.flush()


def read_holder(path: Path) -> str:
    """Who holds the lock, as signed; empty where nobody does."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = handle.read(500)
                return "".join(c for c in text if c.isprintable()) or "another process"
    except OSError:
        pass
    return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


if __name__ == "__main__":
    for _kind, _names in (("cpu", cpus()), ("gpu", gpus())):
        for _name in _names:
            print(f"{_kind} {_name}: {read_holder(_file(_folder(), _kind, _name)) or 'free'}", file=sys.stdout)
