"""What to start next and how long it will all take: longest remaining path first, from what stages cost last time."""

import heapq
import json
from pathlib import Path

from flows.orchestration.dag import Dag

START = 3.0  # seconds that dvc and Python need before a stage's own work begins
UNKNOWN = 10.0
# Seconds of a stage, cpu recipe, one thread; in force until the run book has this machine's own.
FIRST_GUESS = {
    "prompts": 6,
    "base": 135,
    "student_base": 110,
    "judge": 65,
    "r1_zero": 150,
    "cold_start": 30,
    "dev1": 12,
    "dev2": 90,
    "candidates": 22,
    "verdicts": 10,
    "dev3": 60,
    "reward_models": 25,
    "r1": 80,
    "distill": 80,
    "student_rl": 100,
    "evaluate": 22,
    "report": 10,
}


def estimates(root: Path, dag: Dag) -> dict[str, float]:
    """Seconds of each stage: of its last run here, else of a sister's, else a first guess."""
    booked = {}
    for stage in dag.nodes:
        try:
            book = json.loads((root / "work" / "runs" / f"{stage}.json").read_text())
            booked[stage] = None if book["resumed"] else float(book["seconds"])
        except (OSError, ValueError, KeyError):
            booked[stage] = None
    found = {}
    for stage, node in dag.nodes.items():
        sisters = [t for s, t in booked.items() if t is not None and dag[s].name == node.name]
        guess = sum(sisters) / len(sisters) if sisters else FIRST_GUESS.get(node.name, UNKNOWN)
        found[stage] = START + (booked[stage] if booked[stage] is not None else guess)
    return found


def ranks(dag: Dag, seconds: dict[str, float]) -> dict[str, float]:
    """Length of the longest path from the start of each stage to the end of the run."""
    rank: dict[str, float] = {}
    for stage in reversed(dag.nodes):
        rank[stage] = seconds[stage] + max((rank[s] for s in dag.downstream[stage]), default=0.0)
    return rank


def time_left(dag: Dag, todo: set[str], running: dict[str, float], seconds: dict[str, float], jobs: int) -> float:
    """Seconds until `todo` and `running` (stage -> seconds left) are done, by playing the schedule through."""
    rank = ranks(dag, seconds)
    waiting = {s: {u for u in dag.upstream[s] if u in todo or u in running} for s in todo}
    busy = [(left, s) for s, left in running.items()]
    heapq.heapify(busy)
    ready = sorted((s for s, ups in waiting.items() if not ups), key=lambda s: -rank[s])
    now = 0.0
    while busy or ready:
        while ready and len(busy) < jobs:
            stage = ready.pop(0)
            heapq.heappush(busy, (now + seconds[stage], stage))
        now, done = heapq.heappop(busy)
        for stage, ups in waiting.items():
            if done in ups:
                ups.remove(done)
                if not ups:
                    ready.append(stage)
        ready.sort(key=lambda s: -rank[s])
    return now
