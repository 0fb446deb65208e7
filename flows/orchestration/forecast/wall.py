"""Wall time on n devices: stages side by side along the edges of dvc.yaml, the longest remaining path first.

A stage that can use several GPUs is given a width once, when it starts. Two ways are played through, and the quicker one
counts: all devices to one stage after the other, or a fair share to each stage that is ready.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A stage as the schedule sees it."""

    seconds: Callable[[int], float]  # on so many devices
    least: int  # devices; 0 for a stage that needs none
    most: int


@dataclass(frozen=True)
class Placed:
    start: float
    end: float
    devices: int


def play(tasks: Mapping[str, Task], upstream: Mapping[str, Sequence[str]], n: int) -> dict[str, Placed]:
    """Stage -> when it would run and on how many of `n` devices."""
    return min((_play(tasks, upstream, n, fair) for fair in (False, True)), key=finish)


def finish(placed: Mapping[str, Placed]) -> float:
    return max((p.end for p in placed.values()), default=0.0)


def critical_path(tasks: Mapping[str, Task], upstream: Mapping[str, Sequence[str]], n: int) -> list[str]:
    """The chain of stages that takes longest where each has all the devices it can use."""
    end: dict[str, tuple[float, list[str]]] = {}

    def of(stage: str) -> tuple[float, list[str]]:
        if stage not in end:
            before = max((of(up) for up in upstream[stage] if up in tasks), default=(0.0, []), key=lambda e: e[0])
            end[stage] = (before[0] + tasks[stage].seconds(_most(tasks[stage], n)), [*before[1], stage])
        return end[stage]

    return max((of(s) for s in tasks), default=(0.0, []), key=lambda e: e[0])[1]


def _most(task: Task, n: int) -> int:
    return 0 if task.least == 0 else max(min(task.most, n), min(task.least, n))


def _rank(tasks: Mapping[str, Task], upstream: Mapping[str, Sequence[str]], n: int) -> dict[str, float]:
    """Seconds from the start of each stage to the end of the longest path behind it."""
    after: dict[str, list[str]] = {s: [] for s in tasks}
    for stage in tasks:
        for up in upstream[stage]:
            if up in after:
                after[up].append(stage)
    rank: dict[str, float] = {}

    def of(stage: str) -> float:
        if stage not in rank:
            rank[stage] = tasks[stage].seconds(_most(tasks[stage], n)) + max((of(s) for s in after[stage]), default=0.0)
        return rank[stage]

    return {s: of(s) for s in tasks}


def _play(tasks: Mapping[str, Task], upstream: Mapping[str, Sequence[str]], n: int, fair: bool) -> dict[str, Placed]:
    rank = _rank(tasks, upstream, n)
    waiting = {s: {u for u in upstream[s] if u in tasks} for s in tasks}
    ready = [s for s, ups in waiting.items() if not ups]
    placed: dict[str, Placed] = {}
    busy: list[tuple[float, str]] = []
    now, free = 0.0, n
    while ready or busy:
        ready.sort(key=lambda s: (-rank[s], s))
        on_devices = sum(tasks[s].least > 0 for s in ready)
        share = 2 ** int(math.log2(max(1, n // max(1, on_devices)))) if fair and on_devices > 1 else n
        for stage in list(ready):
            task = tasks[stage]
            wide = min(_most(task, n), max(share, min(task.least, n)))
            if wide > free:
                continue
            ready.remove(stage)
            free -= wide
            placed[stage] = Placed(now, now + task.seconds(wide), wide)
            heapq.heappush(busy, (placed[stage].end, stage))
        now, done = heapq.heappop(busy)
        free += placed[done].devices
        for stage, ups in waiting.items():
            if done in ups:
                ups.remove(done)
                if not ups:
                    ready.append(stage)
    return placed
