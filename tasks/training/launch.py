"""A training job in processes of its own, through `accelerate launch`; the process that asked waits and listens.

    launch.call("tasks.training.sft:job", {"start": ..., "pairs": ...}, work, Path("recipes/accelerate/fsdp.yaml"))

The job is a file of paths and settings, no payload: work/launch/job.json. Beside it come what rank 0 says of its
progress (progress.jsonl), its result (result.json), the first failure of any rank (error.json) and the output of the
other ranks (rank-N.log). `stop` asks for a checkpoint and an end: a signal reaches one machine, a file all of them.

With several machines the folder lies on storage that all of them see. `R1_LAUNCH_PREFIX` starts one launcher on each,
e.g. `srun --ntasks-per-node=1`; without it the other machines run `python -m tasks.training.node CONFIG FOLDER`.
"""

import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.provenance.artifacts import ArtifactError
from tasks.training import stopping

if TYPE_CHECKING:
    from tasks.progress import Progress

PAUSE = 0.2  # seconds between looks at the workers
GRACE = 15.0  # seconds that the ranks of a failed job have to end by themselves
ROOM = "room"  # file in the job's folder that makes place for the first failure on a full disk
PREFIX = "R1_LAUNCH_PREFIX"  # command before each machine's launcher
STARTER = "R1_LAUNCHED_BY"  # process id of the stage, with which the launcher dies
ROOT = Path(__file__).resolve().parents[2]  # where `tasks` lies


class LaunchError(ArtifactError):
    """The processes of a job could not be started or did not come to an end; the message says where to look."""


def config_file(root: Path, name: str | None) -> Path | None:
    """recipes/accelerate/<name>.yaml of the project under `root`; None for None."""
    if name is None:
        return None
    folder = root / "recipes" / "accelerate"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise LaunchError(
            f"accelerate: {name}: there is no {path}; known: {known}; null trains in the stage's own process"
        )
    return path


def call(function: str, arguments: dict[str, Any], work: Path, config: Path, progress: "Progress | None" = None) -> Any:
    """`module:function`(**arguments, progress=...) in every process that `config` describes; what rank 0 returned.

    Arguments and result are JSON; a Path is handed over as its absolute text. A failure of a worker is raised here as
    what it was, if it is an error of ours or of Python's.

    Raises:
        Stopped: SIGTERM or Ctrl-C came and the job saved its state.
        LaunchError: a process died without a word, or accelerate could not start it.
    """
    folder = work / "launch"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "error.json", "stop", "progress.jsonl", "job.json"):
        (folder / name).unlink(missing_ok=True)
    paths = {key: str(value.resolve()) if isinstance(value, Path) else value for key, value in arguments.items()}
    make_room(folder)
    write_json(folder / "job.json", {"function": function, "arguments": paths})
    prefix = shlex.split(os.environ.get(PREFIX, ""))
    command = [*prefix, sys.executable, "-m", "tasks.training.node", str(config.resolve()), str(folder.resolve())]
    process = subprocess.Popen(command, env=_environment(prefix), stdin=subprocess.DEVNULL, start_new_session=True)
    said = _lines(folder / "progress.jsonl")
    try:
        with stopping.requests() as came:
            _watch(process, folder, came, said, progress)
    finally:
        _end(process)
    _tell(said, progress)
    if (folder / "result.json").is_file():
        return json.loads((folder / "result.json").read_text())
    raise failure(folder, process.returncode, came)


def make_room(folder: Path) -> None:
    """Take what the first failure needs, so that a disk which fills up does not silence it; random: no file of zeros."""
    (folder / ROOM).write_bytes(os.urandom(1 << 16))


def write_json(path: Path, value: Any) -> None:
    """Write and rename: a reader sees all of it or nothing."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(json.dumps(value))
    part.replace(path)


def _environment(prefix: list[str]) -> dict[str, str]:
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
    env.pop(STARTER, None)
    return env if prefix else env | {STARTER: str(os.getpid())}


def _watch(process: subprocess.Popen, folder: Path, came: list[str], said: Iterator[dict], progress) -> None:
    """Until the launcher ends: hand on what is said and asked; ranks that hang after a failure are not waited for."""
    end = None
    while process.poll() is None:
        _tell(said, progress)
        if came and not (folder / "stop").exists():
            write_json(folder / "stop", came[0])
        if end is None and (folder / "error.json").is_file():
            end = time.monotonic() + GRACE
        if end is not None and time.monotonic() > end:
            return
        time.sleep(PAUSE)


def _tell(said: Iterator[dict], progress: "Progress | None") -> None:
    for line in iter(lambda: next(said), None):
        if progress:
            progress(**line)


def _lines(path: Path) -> Iterator[dict | None]:
    """The whole lines of a growing file of JSON lines, each once; None where there is no more of it yet."""
    place = 0
    while True:
        text = b""
        if path.is_file():
            with open(path, "rb") as f:
                f.seek(place)
                text = f.read()
        whole = text[: text.rfind(b"\n") + 1]
        place += len(whole)
        yield from map(json.loads, whole.splitlines())
        yield None


def _end(process: subprocess.Popen) -> None:
    """Nothing of the job outlives it: the workers die with the launcher (tasks/training/node.py)."""
    if process.poll() is None:
        for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            os.killpg(process.pid, number)
            try:
                process.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                continue


def failure(folder: Path, status: int, came: list[str]) -> BaseException:
    """What went wrong, as an exception of the class that a worker raised, where that can be made again."""
    try:
        error = json.loads((folder / "error.json").read_text())
    except (OSError, ValueError):
        if came:
            return stopping.Stopped(f"stopped by {came[0]} before the first step; nothing was to be saved")
        return LaunchError(
            f"the training processes ended with status {status} and no message; their words: this log, {folder}/rank-*.log"
        )
    stopped = error["class"].endswith(".Stopped")  # all of them
    where = f"[process {error['rank']}] " if error["rank"] and not stopped else ""
    module, _, name = error["class"].rpartition(".")
    if module == "builtins" or module.startswith("tasks."):
        found = getattr(importlib.import_module(module), name, None)
        if isinstance(found, type) and issubclass(found, (Exception, stopping.Stopped)):
            try:
                return found(where + error["message"])
            except TypeError:  # a class that is not made from one message
                pass
    return LaunchError(f"{where}{name}: {error['message']}; more in {folder}")
