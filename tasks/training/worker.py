"""One process of a training job: `python -m tasks.training.worker FOLDER`, started by accelerate, not by hand.

Every rank calls the same function with the same arguments; rank 0 tells of its progress and hands back the result.
"""

import errno
import importlib
import json
import os
import sys
import traceback
import warnings
from pathlib import Path

from tasks.training import stopping
from tasks.training.launch import write_json
from tasks.training.node import die_with, record


def main(folder: Path) -> int:
    """Exit status 0 where the function returned; else the first failure of any rank is in error.json."""
    rank = int(os.environ.get("RANK", "0"))
    os.environ[stopping.FILE] = str(folder / "stop")
    warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)  # Trainer's way to say it
    if rank:
        _speak_into(folder / f"rank-{rank}.log")
    try:
        job = json.loads((folder / "job.json").read_text())
        module, _, name = job["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        result = function(**job["arguments"], progress=_teller(folder / "progress.jsonl") if rank == 0 else None)
        if rank == 0:
            write_json(folder / "result.json", result)
        return 0
    except (Exception, stopping.Stopped, KeyboardInterrupt) as exc:  # noqa: BLE001  whatever it is, the stage tells of it
        if not isinstance(exc, stopping.Stopped):
            traceback.print_exc()
        found = full_disk(exc) or exc
        record(folder, f"{type(found).__module__}.{type(found).__qualname__}", str(found), rank)
        return 1
    finally:
        _leave_group()


def full_disk(exc: BaseException | None) -> OSError | None:
    """The error of a full disk that this one is, or came from: what writes weights says it in words of its own."""
    while exc is not None:
        if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return exc
        if "(os error 28)" in str(exc):  # safetensors
            return OSError(str(exc))
        exc = exc.__cause__ or exc.__context__
    return None


def _speak_into(log: Path) -> None:
    """Standard output and error of this process go into `log`: one voice in the stage's log is enough."""
    sys.stdout.flush()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _teller(path: Path):
    """A `progress` that writes what it is told as a line of JSON."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def progress(done, total, unit="steps", note="", **more) -> None:
        line = {"done": done, "total": total, "unit": unit, "note": note, **more}
        os.write(handle, json.dumps(line, default=float).encode() + b"\n")

    return progress


def _leave_group() -> None:
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    die_with(None)
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads of the communication library are not waited for: the result is written
