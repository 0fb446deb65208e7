"""What people see while the pipeline runs: live bars on a terminal, a line now and then in a log."""

import sys
import time
from typing import TYPE_CHECKING

from flows.orchestration.child import CACHED, COMPLETED, FRESH, Outcome
from flows.orchestration.progress import human

if TYPE_CHECKING:
    from flows.orchestration.pipeline import Pipeline

LINE_EVERY = 20.0  # seconds
WORDS = {COMPLETED: "done in", CACHED: "restored from DVC's run cache in", FRESH: "unchanged, asked in"}


def display() -> "PlainDisplay | LiveDisplay":
    return LiveDisplay() if sys.stdout.isatty() else PlainDisplay()


def ended(outcome: Outcome) -> str:
    words = WORDS.get(outcome.state, f"{outcome.state.lower()} after")
    tries = f", at attempt {outcome.attempts}" if outcome.attempts > 1 else ""
    return f"{outcome.stage}: {words} {human(outcome.seconds)}{tries}"


def headline(run: "Pipeline") -> str:
    total = len(run.selected)
    left = f"about {human(run.time_left())} left" if run.running else ""
    parts = [
        human(time.monotonic() - run.started),
        f"{total - len(run.todo) - len(run.running)} of {total} stages",
        left,
    ]
    return " · ".join(p for p in parts if p)


def stage_line(run: "Pipeline", stage: str) -> str:
    p = run.children.progress(stage)
    elapsed = human(time.monotonic() - run.running[stage])
    if not p.get("total"):
        return f"{stage} ({elapsed})" + (f": {p['note']}" if p.get("note") else "")
    note = f" {p['note']}" if p.get("note") else ""
    return f"{stage} {p['done'] / p['total']:.0%} ({p['done']:,.0f}/{p['total']:,.0f} {p['unit']}, {elapsed}){note}"


class PlainDisplay:
    def __init__(self):
        self._last = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def say(self, text: str) -> None:
        print(text, flush=True)

    def tick(self, run: "Pipeline") -> None:
        if time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            self.say(f"[{headline(run)}] " + " | ".join(stage_line(run, s) for s in run.running))


class LiveDisplay:
    """One bar over all, one for each running stage; what has ended scrolls by above them."""

    def __init__(self):
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self):
        self._live.start()
        return self

    def __exit__(self, *_):
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def tick(self, run: "Pipeline") -> None:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table.grid(padding=(0, 1))
        elapsed = time.monotonic() - run.started
        table.add_row(
            ProgressBar(total=max(1e-9, elapsed + run.time_left()), completed=elapsed, width=24), headline(run)
        )
        for stage in run.running:
            p = run.children.progress(stage)
            bar = ProgressBar(total=p.get("total") or 1, completed=p.get("done", 0), width=24)
            table.add_row(bar, stage_line(run, stage))
        self._live.update(table)
