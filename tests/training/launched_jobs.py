"""Jobs that tests launch: what a training job may do, without the training."""

import os
import signal
import sys
import time
from pathlib import Path

from tasks.provenance.artifacts import ArtifactError


def meet(word: str, progress=None) -> dict:
    """Every rank tells the others who it is."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    state = PartialState(cpu=True)
    ranks = gather_object([state.process_index])
    if progress:
        progress(1, 1, "words", word, tokens=len(word))
    return {"word": word, "ranks": ranks, "threads": os.environ["OMP_NUM_THREADS"]}


def fail(progress=None) -> None:
    """Rank 1 finds a damaged artifact while rank 0 is at work."""
    if int(os.environ["RANK"]) == 1:
        raise ArtifactError("data/02_base/model.safetensors is damaged: rebuild it")
    time.sleep(60)


def vanish(progress=None) -> None:
    """Rank 1 is killed, as by the kernel when memory is short."""
    if int(os.environ["RANK"]) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def linger(folder: str, progress=None) -> None:
    """Say who is there and stay."""
    Path(folder, os.environ["RANK"]).write_text(str(os.getpid()))
    time.sleep(60)


if __name__ == "__main__":  # a stage that launches `linger`
    from tasks.training import launch

    place = Path(sys.argv[1])
    launch.call("tests.training.launched_jobs:linger", {"folder": place}, place, Path(sys.argv[2]))
