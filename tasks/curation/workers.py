"""A parallel map over processes that die with their parent; one worker is the calling process itself.

Processes start when they are first needed and leave their memory to others with `rest`.
"""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from tasks.curation.policy import CurationError


class Workers:
    """`with Workers(2) as run: run(function, *columns)`, in the order of the arguments, as `map` does."""

    def __init__(self, count: int):
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *failure: object) -> None:
        self.rest()

    def rest(self) -> None:
        """End the processes; the next call starts new ones."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __call__(self, function: Callable, *columns: Sequence) -> Iterator[Any]:
        """Results in order; a few jobs are started ahead."""
        jobs = list(zip(*columns, strict=True))
        if self.count == 1 or len(jobs) < 2:
            for job in jobs:
                yield function(*job)
            return
        yield from self._parallel(function, jobs)

    def _parallel(self, function: Callable, jobs: list[tuple]) -> Iterator[Any]:
        running, ready, following, given = {}, {}, 0, 0
        self._pool = self._pool or ProcessPoolExecutor(
            self.count, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
        )
        try:
            while given < len(jobs) or running:
                while given < len(jobs) and len(running) < 2 * self.count:
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
            raise CurationError(
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
