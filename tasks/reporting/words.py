"""How numbers are said: one format everywhere, so that a number in a sentence is the number in the table."""

from collections.abc import Sequence

DASH = "–"


def percent(x: float | None) -> str:
    """0.931 → 93.1"""
    return DASH if x is None else f"{100 * x:.1f}"


def interval(ci: Sequence[float] | None, signed: bool = False) -> str:
    """[0.91, 0.948] → [91.0, 94.8]"""
    if ci is None:
        return ""
    low, high = (points(x) if signed else percent(x) for x in ci)
    return f"[{low}, {high}]"


def measured(x: float | None, ci: Sequence[float] | None) -> str:
    """93.1 [91.0, 94.8]"""
    return f"{percent(x)} {interval(ci)}".strip()


def points(x: float | None) -> str:
    """A difference in percentage points, signed, with a true minus sign."""
    return DASH if x is None else f"{100 * x:+.1f}".replace("-", "−")


def count(x: int | None) -> str:
    return DASH if x is None else f"{x:,}"


def decimal(x: float | None, digits: int = 1) -> str:
    return DASH if x is None else f"{x:.{digits}f}".replace("-", "−")


def duration(seconds: float | None) -> str:
    """95.2 → 1 min 35 s"""
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size(bytes_: float | None) -> str:
    """1536 → 1.5 KiB"""
    if bytes_ is None:
        return DASH
    value, unit = float(bytes_), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def comparison(a: str, b: str, diff: dict) -> str:
    """What a paired difference allows to be said; the words follow from the interval alone."""
    low, high = diff["ci95"]
    told = f"{points(diff['difference'])} points {interval(diff['ci95'], signed=True)}"
    if low > 0:
        return f"{a} beats {b} beyond the interval: {told}."
    if high < 0:
        return f"{a} falls behind {b} beyond the interval: {told}."
    return f"No difference between {a} and {b} can be claimed: {told} includes zero."
