"""work/runs/<stage>.json: what the last run of a stage cost here, who ran it, on what, from which state of the code.

Not an artifact: it differs from run to run. A stage that trains step by step leaves beside it what each step took
(<stage>.steps.csv), with the medians in the book under `throughput`. `published` holds the sha256 of what that run made, so that a book is never
taken for one of another artifact, such as one that was fetched from a remote or checked out of another commit.
"""

import getpass
import json
import os
import platform
import resource
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flows.orchestration import git
from flows.orchestration.dag import Node
from flows.orchestration.publish import as_csv, write_atomically
from tasks.provenance.artifacts import sha256

if TYPE_CHECKING:
    from flows.orchestration.stage import Run

STATED = ("params.yaml", "dvc.yaml")  # beside its code, what decides over a stage
PARTS = ("rollout", "reward", "training")  # of a step's seconds


class RunBook:
    """Opened when the body starts, because code may be edited while it runs; written after everything is published."""

    def __init__(self, root: Path, node: Node):
        self._started, self._clock = time.time(), time.monotonic()
        self._facts = {"stage": node.stage, "user": _user(), "host": platform.node(), "cpu": cpu(), "gpu": _gpu(node)}
        self._facts |= {"commit": git.head(root), "dirty": list(git.dirty(root, [*node.code, *STATED]))}

    def write(self, run: "Run", resumed: bool, size: int) -> float:
        """Write the book; the seconds that the run took."""
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds, started = time.monotonic() - self._clock, self._started
        book = self._facts | {
            "seconds": round(seconds, 2),
            "cpu_seconds": round(own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime, 2),
            "peak_rss_mb": round(max(own.ru_maxrss, children.ru_maxrss) / 1024),
            "threads": run.threads,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started + seconds)),
            "started_at": round(started, 3),
            "finished_at": round(started + seconds, 3),
            "resumed": resumed,
            "disk_bytes": size,
            "published": {path: identity(run.root / path) for path in run.node.outs},
        }
        folder, steps = run.root / "work" / "runs", run.progress.timings
        if steps:
            book["throughput"] = throughput(steps)
            write_atomically(folder / f"{run.stage}.steps.csv", as_csv(steps))
        else:
            (folder / f"{run.stage}.steps.csv").unlink(missing_ok=True)  # of an earlier run
        write_atomically(folder / f"{run.stage}.json", json.dumps(book, indent=1) + "\n")
        return seconds


def throughput(steps: list[dict]) -> dict[str, float]:
    """Medians over the steps, and the share that each part has of all their seconds; see tasks/training/grpo_log.py."""
    total = sum(s["seconds"] for s in steps)
    out = {"steps": len(steps), "seconds_per_step": statistics.median(s["seconds"] for s in steps)}
    out["tokens_per_second"] = sum(s["tokens"] for s in steps) / total if total else 0.0
    out |= {f"{part}_share": sum(s[part] for s in steps) / total if total else 0.0 for part in PARTS}
    return {key: round(value, 4) for key, value in out.items()}


def read(root: Path, stage: str) -> dict | None:
    """The book of the stage's last run in this checkout; None where there is none, or half of one."""
    try:
        book = json.loads((root / "work" / "runs" / f"{stage}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return book if isinstance(book, dict) and book.get("stage") == stage else None


def identity(path: Path) -> str | None:
    """sha256 of an artifact: of its manifest, which vouches for every file in it, or of the file itself."""
    for file in (path / "manifest.json", path):
        if file.is_file():
            return sha256(file)
    return None


def is_about(book: dict, outs: dict[str, Path]) -> bool:
    """Whether these artifacts, by their paths in dvc.yaml, are what that run published."""
    published = book.get("published") or {}
    return bool(outs) and all(
        published.get(path) and identity(place) == published[path] for path, place in outs.items()
    )


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _gpu(node: Node) -> str | None:
    """Names of the GPUs of a stage that wants one, without importing torch."""
    if not node.gpu:
        return None
    names = []
    for info in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = info.read_text(errors="replace").splitlines()
        names += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    return ", ".join(names) or None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return f"uid {os.getuid()}"
