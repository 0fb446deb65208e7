"""Progress of one stage: a line on a terminal, now and then a line in a log, and a small file for whoever started us.

Where R1_PROGRESS names a file, it holds one JSON object, replaced atomically: {"stage", "done", "total", "unit", "note",
"seconds", "rate" (units a second), "tokens_per_s", "left" (seconds)}; the last three are null while nobody knows.
The same call feeds a stage's page in Prefect with points of its learning curve and sample rollouts (page.py).
"""

import json
import os
import sys
import time
from pathlib import Path

LINE_EVERY = 30.0  # seconds between lines in a log
FILE_EVERY = 0.5
POINTS = 2000  # of the learning curve that are kept; above it every second one goes


class Progress:
    """Called by a stage's body and the tasks below it: tasks/progress.py says how."""

    def __init__(self, stage: str):
        self.stage = stage
        self.started = time.monotonic()
        self.latest: dict = {"stage": stage, "done": 0, "total": 0, "unit": "", "note": "", "seconds": 0.0}
        self.latest |= {"rate": None, "tokens_per_s": None, "left": None}
        self.points: list[dict] = []
        self.rollouts: list[dict] = []
        self.timings: list[dict] = []  # of each step, for the run book
        self._file = Path(os.environ["R1_PROGRESS"]) if os.environ.get("R1_PROGRESS") else None
        self._terminal = sys.stderr.isatty()
        self._last_line = self.started
        self._last_file = 0.0
        self._dirty = False
        self._first: tuple[float, float, int | None] | None = None  # done, when, tokens: where this phase began here

    def __call__(
        self,
        done: float,
        total: float,
        unit: str = "steps",
        note: str = "",
        *,
        tokens: int | None = None,
        point: dict | None = None,
        rollouts: list[dict] | None = None,
        timings: list[dict] | None = None,
    ) -> None:
        now, before = time.monotonic(), self.latest
        if self._first is None or (before["total"], before["unit"]) != (total, unit) or done < before["done"]:
            self._first, self.points = (done, now, tokens), []  # a new phase, or a resumed stage in the middle of one
        self.latest = {"stage": self.stage, "done": done, "total": total, "unit": unit, "note": note}
        self.latest |= {"seconds": round(now - self.started, 1), **self._rates(now, tokens)}
        if point:
            self.points.append(point)
            if len(self.points) > POINTS:
                self.points = self.points[::2]
        if rollouts:
            self.rollouts = rollouts
        self.timings += timings or []
        self._show(now)

    def _rates(self, now: float, tokens: int | None) -> dict[str, float | None]:
        """Means since the phase began in this process; of tokens that are the unit there is only the one rate."""
        done0, t0, tokens0 = self._first
        done, total, passed = self.latest["done"], self.latest["total"], now - t0
        rate = (done - done0) / passed if passed > 0 and done > done0 else None
        speed = (
            (tokens - tokens0) / passed if None not in (tokens, tokens0) and passed > 0 and tokens > tokens0 else None
        )
        if self.latest["unit"] == "tokens":
            speed = rate
        left = (total - done) / rate if rate and done < total else None
        return {"rate": rate, "tokens_per_s": speed, "left": left}

    def _show(self, now: float) -> None:
        finished = self.latest["done"] >= self.latest["total"]
        if self._file and (finished or now - self._last_file >= FILE_EVERY):
            self._last_file = now
            self._write()
        if self._terminal:
            self._dirty = True
            print(f"\r\033[K{self.line()}", end="", file=sys.stderr, flush=True)
        elif now - self._last_line >= LINE_EVERY:
            self._last_line = now
            print(self.line(), flush=True)

    def line(self) -> str:
        return " · ".join([self.stage, *parts(self.latest)])

    def say(self, text: str) -> None:
        """A line of its own, above the progress line of a terminal."""
        if self._dirty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._dirty = False
        print(text, flush=True)

    def close(self) -> None:
        if self._dirty:
            print(file=sys.stderr, flush=True)
            self._dirty = False

    def _write(self) -> None:
        temporary = self._file.with_name(self._file.name + ".new")
        try:
            temporary.write_text(json.dumps(self.latest))
            temporary.replace(self._file)
        except OSError:
            self._file = None  # progress is a courtesy: never the reason for a stage to fail


def parts(p: dict) -> list[str]:
    """What `latest`, or the file of R1_PROGRESS, says: share, count, rates, time left, note; what is unknown is left out."""
    words = (
        [f"{p['done'] / p['total']:.0%}", f"{p['done']:,.0f}/{p['total']:,.0f} {p['unit']}"] if p.get("total") else []
    )
    if (rate := p.get("rate")) and p["unit"]:
        slow = f"{1 / rate:.1f} s" if rate > 1 / 60 else human(1 / rate)
        words.append(f"{rate:,.{rate < 10:d}f} {p['unit']}/s" if rate >= 1 else f"{slow}/{p['unit'].removesuffix('s')}")
    if p.get("tokens_per_s") and p["unit"] != "tokens":
        words.append(f"{p['tokens_per_s']:,.0f} tokens/s")
    if p.get("left"):
        words.append(f"{human(p['left'])} left")
    return [w for w in [*words, p.get("note", "")] if w]


def human(seconds: float) -> str:
    """75 -> '1 min 15 s'; rough above ten minutes."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 600:
        return f"{seconds // 60} min {seconds % 60} s" if seconds % 60 else f"{seconds // 60} min"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
