"""What keeps two processes from building one stage, and any process from outliving the one that started it.

SIGKILL of dvc leaves its command running, and the next `dvc repro` would start a second writer: so a stage dies with
dvc (PR_SET_PDEATHSIG), holds a lock of its own while it lives, and starts in an environment that fixes its bits.
`python -m flows.orchestration.guard …` is `dvc …` under the same rule; the pipeline starts its children through it.
"""

import ctypes
import gc
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from flows.orchestration import slots  # every dvc process begins here: what else it needs is imported where it is used

BUSY = "is busy, it is being blocked by"  # DVC's words for the same thing; the pipeline waits on either
PAUSE = 0.5  # seconds between looks at the process that is building a stage
LONGEST_WAIT = 600.0  # seconds; then DVC is asked again, whoever still runs
PR_SET_PDEATHSIG = 1
SHELLS = {"sh", "dash", "bash", "zsh", "ksh", "fish", "busybox"}
STARTER = "R1_STARTER"  # process id of who starts a process that is to die with it; dvc's for a stage


class BusyError(Exception):
    """Another process is building this stage right now."""


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, however the parent dies.

    A stage dies with dvc also where a shell stands between them: DVC runs a command through $SHELL, and dash, unlike
    bash, stays to wait for it.
    """
    parent = os.getppid()
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    starter = int(os.environ.get(STARTER, 0))
    owner = parent
    if "DVC_STAGE" in os.environ and parent != starter and (starter or _program(parent) in SHELLS):
        owner = _parent(parent)
        _die_with(owner)
    orphan = owner == 1 and "DVC_STAGE" in os.environ and not _is_dvc(1)
    if os.getppid() != parent or owner != (starter or owner) or orphan:
        raise SystemExit("the process that started this one is gone")  # it died before the lines above


def _die_with(pid: int) -> None:
    """Have a thread of this process end it when process `pid`, which is not its parent, ends."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        raise SystemExit("the process that started this one is gone") from None

    def watch() -> None:
        select.select([handle], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="die with dvc", daemon=True).start()


def _program(pid: int) -> str:
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 1


def _is_dvc(pid: int) -> bool:
    try:
        return b"dvc" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def hold(root: Path, stage: str) -> IO[str]:
    """Take the stage's lock, kept until the returned file is closed or this process ends; BusyError if it is held."""
    path = root / "work" / "locks" / f"{stage}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = slots.try_lock(path, 0o666, patience=1.0)  # who only asks whether it is held holds it for an instant
    if handle is None:
        raise BusyError(
            f"{stage} {BUSY} {slots.read_holder(path) or 'another process'}: wait for it or stop it; "
            "two writers would spoil the artifact"
        )
    slots.sign(handle, f"`{' '.join(sys.orig_argv)}`")
    return handle


def unseal(root: Path, stages: Iterable[str]) -> None:
    """Remove what a kill in the middle of publishing has left of stages that DVC has called whole since.

    DVC may bring them back without running them, from its run cache or by `dvc checkout`; their seal would go on
    telling whoever reads them that their outs do not belong together.
    """
    from flows.orchestration import publish

    for stage in publish.half_published(root, stages):
        with suppress(BusyError), hold(root, stage):  # busy: it is publishing right now
            publish.unseal(root, stage)


def await_holders(text: str, stopped: threading.Event) -> None:
    """Sleep until a process that `text` (our words or DVC's) names as busy with a stage has ended, or until `stopped`.

    Asking DVC again and again would cost a core: each time is a process of two CPU-seconds.
    """
    said = text[text.rindex(BUSY) :]
    holders = [int(pid) for pid in re.findall(r"\b(?:process|PID) (\d+)", said)]
    end = time.monotonic() + LONGEST_WAIT
    stopped.wait(PAUSE)
    while any(_alive(pid) for pid in holders) and time.monotonic() < end and not stopped.wait(PAUSE):
        pass


def _alive(pid: int) -> bool:
    """Whether it runs: a process that has ended but was not waited for by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def environment(threads: int) -> dict[str, str]:
    """Variables that must be set before Python or torch starts, because they decide bits or speed."""
    n = str(threads)
    return {
        "PYTHONHASHSEED": "0",  # order of sets
        "OMP_NUM_THREADS": n,
        "MKL_NUM_THREADS": n,
        "OPENBLAS_NUM_THREADS": n,
        "NUMBA_NUM_THREADS": n,
        "OMP_WAIT_POLICY": "passive",  # waiting threads of two stages side by side must not spin
        "OMP_DYNAMIC": "FALSE",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",  # rollout_func is what makes RL affordable on a CPU
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # our own progress says more than one bar per shard
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def settle(threads: int) -> None:
    """Start this program anew, same process id, where `environment` is not in force; the pipeline sets it before."""
    wanted = environment(threads)
    if any(os.environ.get(k) != v for k, v in wanted.items()):
        if os.environ.get("R1_SETTLED") == str(os.getpid()):
            raise RuntimeError("the environment of a stage does not hold across exec")
        os.environ.update(wanted, R1_SETTLED=str(os.getpid()))
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def dvc() -> int:
    """The dvc command line, dying with its parent; SIGTERM ends its stage first, which may save what it has."""
    die_with_parent()
    os.environ[STARTER] = str(os.getpid())
    if os.path.exists("/bin/bash"):
        os.environ["SHELL"] = "/bin/bash"  # it gives way to the stage: SIGTERM would end dash, and that kills the stage
    gc.set_threshold(100_000)  # looking for cycles in what it imports is a seventh of the time DVC needs to come up
    from flows.orchestration import lockfile, mend

    mend.mend(Path.cwd())
    signal.signal(signal.SIGTERM, _hand_on)
    from dvc.cli import main

    lockfile.install()
    return main(sys.argv[1:])


def _hand_on(number: int, frame) -> None:
    """Tell the stage, whose end then ends dvc; without one, end."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for child in children:
        os.kill(int(child), number)
    if not children:
        raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(dvc())
