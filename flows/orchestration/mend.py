"""What a kill can leave half-written of DVC's own files, put right before DVC is asked anything.

DVC rewrites dvc.lock and .dvc/tmp/rwlock in place; with half of either every later command stops.
"""

import json
import subprocess
from pathlib import Path

from flows.orchestration.publish import write_atomically


def mend(root: Path) -> None:
    """Put right what a killed dvc has left of its table of locks and of dvc.lock; says what it did to dvc.lock."""
    mend_rwlock(root)
    mend_lock(root)


def mend_rwlock(root: Path) -> None:
    """Correct DVC's table of who reads and writes what: half a table goes, and so do entries of the dead.

    DVC drops dead processes itself, unless another program has their process id by now: then it would wait for that
    one for ever. What half a table said of processes that still run is lost with it; the stages' own locks stand.
    """
    from dvc.lock import LockError, make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    folder = root / ".dvc" / "tmp"
    table = folder / RWLOCK_FILE
    if not table.exists():
        return
    try:
        with make_lock(str(folder / RWLOCK_LOCK), tmp_dir=str(folder)):
            try:
                text = table.read_text(encoding="utf-8")
                kept = json.dumps(_of_the_living(json.loads(text)))
            except (ValueError, TypeError, KeyError, AttributeError):
                table.unlink()
            else:
                if kept != text:
                    write_atomically(table, kept)
    except LockError:
        return  # somebody alive is writing it


def _of_the_living(table: dict) -> dict:
    write = {path: info for path, info in table.get("write", {}).items() if not info or _is_its_process(info)}
    read = {path: [i for i in infos if _is_its_process(i)] for path, infos in table.get("read", {}).items()}
    return {**table, "write": write, "read": {path: infos for path, infos in read.items() if infos}}


def _is_its_process(info: dict) -> bool:
    """Whether the process id still is that of the command which the table names."""
    try:
        command = Path(f"/proc/{int(info['pid'])}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return not Path("/proc/self").exists()  # where there is no /proc DVC must find out itself
    return " ".join(info["cmd"].split()[1:]) in command


def mend_lock(root: Path) -> None:
    """Replace half a dvc.lock by the committed one, or by none; the half is kept as work/dvc.lock.half.

    What was built since the commit DVC then finds in its run cache: it is recorded again and not run again.
    """
    path = root / "dvc.lock"
    if _whole(path):
        return
    from dvc.lock import LockError, make_lock

    folder = root / ".dvc" / "tmp"
    try:
        with make_lock(str(folder / "lock"), tmp_dir=str(folder), wait=True):  # DVC's own: nobody is writing it now
            if _whole(path):
                return
            (root / "work").mkdir(exist_ok=True)
            path.replace(root / "work" / "dvc.lock.half")
            if committed := _committed(root):
                write_atomically(path, committed)
    except LockError:
        return
    instead = "the committed one is back" if committed else "it starts anew"
    print(f"A killed dvc had left half a dvc.lock (now work/dvc.lock.half): {instead}, the run cache has the rest.")


def _whole(path: Path) -> bool:
    """Whether DVC can read it: its schema holds, and it ends where a line ends."""
    if not path.exists():
        return True
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (ValueError, yaml.YAMLError):
        return False
    if not isinstance(data, dict) or "schema" not in data or not text.endswith("\n"):
        return False
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(data)
    except Invalid:
        return False
    return True


def _committed(root: Path) -> str | None:
    shown = subprocess.run(
        ["git", "show", "HEAD:./dvc.lock"], cwd=root, capture_output=True, text=True, encoding="utf-8", check=False
    )
    return shown.stdout if shown.returncode == 0 else None
