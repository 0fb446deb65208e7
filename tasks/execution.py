"""Where batches and shards are worked on: in this process, in a pool of processes, or on a Ray cluster.

    with open_execution("ray", threads=1) as execution:  # flows/orchestration/execution.py
        for path in execution.map(process_shard, shards, scans, folders): ...

What is mapped is a function of a module, and its arguments are small: paths, numbers, settings. It reads its input
from a file and writes its result under a name of its own by rename, so it may run twice (a node dies) and nothing is
lost or doubled. Results come in the order of the arguments, and no result depends on where it was made.
"""

import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self


class ExecutionError(Exception):
    """Work could not be handed out or was lost for good; the message names what, where and the remedy."""


class Execution(Protocol):
    """A map over jobs. Use it as a context manager: leaving it ends the processes, or the connection."""

    name: str  # "local" or "ray"
    remote: bool  # whether jobs may run on other machines: then they are laid out as files in a shared folder
    threads: int  # of one job
    gpus: int  # GPUs that jobs may take

    def map(self, function: Callable, *columns: Sequence, gpu: bool = False) -> Iterator[Any]:
        """function(*job) for each job of zip(*columns), in order; `gpu`: each takes one where there are any.

        What a job raises is raised here. ExecutionError where its process is killed for good.
        """
        ...

    def rest(self) -> None:
        """End idle processes of this machine and leave their memory to others; the next call starts new ones."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...


class Local:
    """Processes of this machine that die with their parent; one worker is the calling process itself."""

    name, remote = "local", False

    def __init__(self, workers: int = 1, threads: int = 1):
        self.workers, self.threads = workers, threads
        self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.rest()

    @property
    def gpus(self) -> int:
        import torch

        return torch.cuda.device_count()

    def rest(self) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, function: Callable, *columns: Sequence, gpu: bool = False) -> Iterator[Any]:
        jobs = list(zip(*columns, strict=True))
        if self.workers == 1 or len(jobs) < 2:
            for job in jobs:
                yield function(*job)
            return
        yield from self._parallel(function, jobs)

    def _parallel(self, function: Callable, jobs: list[tuple]) -> Iterator[Any]:
        from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        running, ready, following, given = {}, {}, 0, 0
        self._pool = self._pool or ProcessPoolExecutor(
            self.workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
        )
        try:
            while given < len(jobs) or running:
                while given < len(jobs) and len(running) < 2 * self.workers:
                    running[self._pool.submit(function, *jobs[given])] = given
                    given += 1
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number = running.pop(future)
                    ready[number] = future.result()
                while following in ready:
                    yield ready.pop(following)
                    following += 1
        except BrokenProcessPool:
            self.rest()
            raise ExecutionError(
                "a worker process was killed, most likely for want of memory: run again with fewer --threads; "
                "finished shards are kept"
            ) from None
        finally:
            for future in running:
                future.cancel()


def _begin(parent: int) -> None:
    """In a new worker: one thread for every library, interrupts are the parent's, and no life without it."""
    import pyarrow as pa

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pa.set_cpu_count(1)
    try:
        handle = os.pidfd_open(parent)
    except ProcessLookupError:
        os._exit(1)

    def watch() -> None:
        select.select([handle], [], [])
        os._exit(1)

    threading.Thread(target=watch, name="die with parent", daemon=True).start()


def unique(path: Path) -> Path:
    """A temporary name beside `path` that no other process on any machine takes; rename it when it is whole."""
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}.new")
