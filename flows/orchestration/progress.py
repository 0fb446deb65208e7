"""Progress of one stage: a line on a terminal, now and then a line in a log, and a small file for whoever started us.

Where R1_PROGRESS names a file, it holds one JSON object, replaced atomically:
{"stage", "done", "total", "unit", "note", "seconds"}.
"""

import json
import os
import sys
import time
from pathlib import Path

LINE_EVERY = 30.0  # seconds between lines in a log
FILE_EVERY = 0.5


class Progress:
    def __init__(self, stage: str):
        self.stage = stage
        self.started = time.monotonic()
        self.latest: dict = {"stage": stage, "done": 0, "total": 0, "unit": "", "note": "", "seconds": 0.0}
        self._file = Path(os.environ["R1_PROGRESS"]) if os.environ.get("R1_PROGRESS") else None
        self._terminal = sys.stderr.isatty()
        self._last_line = self.started
        self._last_file = 0.0
        self._dirty = False
        self._first: tuple[float, float] | None = None  # where this process began: a resumed stage starts in the middle

    def __call__(self, done: float, total: float, unit: str = "steps", note: str = "") -> None:
        now = time.monotonic()
        self._first = self._first or (done, now)
        seconds = round(now - self.started, 1)
        self.latest = {
            "stage": self.stage,
            "done": done,
            "total": total,
            "unit": unit,
            "note": note,
            "seconds": seconds,
        }
        finished = done >= total
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
        p = self.latest
        share = f"{p['done'] / p['total']:4.0%}" if p["total"] else ""
        parts = [self.stage, share, f"{p['done']:,.0f}/{p['total']:,.0f} {p['unit']}", self._left(), p["note"]]
        return " · ".join(part for part in parts if part)

    def _left(self) -> str:
        done0, t0 = self._first
        done, total = self.latest["done"], self.latest["total"]
        if done <= done0 or done >= total:
            return ""
        return f"{human((total - done) * (time.monotonic() - t0) / (done - done0))} left"

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


def human(seconds: float) -> str:
    """75 -> '1 min 15 s'; rough above ten minutes."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 600:
        return f"{seconds // 60} min {seconds % 60} s" if seconds % 60 else f"{seconds // 60} min"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
