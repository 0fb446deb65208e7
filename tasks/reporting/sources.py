"""Reading what the report is made from: metrics, curves and the run book."""

import csv
import json
from pathlib import Path


def _pairs(value):
    """Intervals as [low, high] again; files hold them as {low, high}, which `dvc metrics` can show."""
    if not isinstance(value, dict):
        return value
    if value.keys() == {"low", "high"}:
        return [value["low"], value["high"]]
    return {key: _pairs(inner) for key, inner in value.items()}


def read_metrics(folder: Path) -> dict[str, dict]:
    """metrics/distill/qwen.json → {"distill/qwen": …}, sorted by name; a damaged file is an error that names it."""
    metrics = {}
    for path in sorted(Path(folder).rglob("*.json")):
        try:
            metrics[path.relative_to(folder).with_suffix("").as_posix()] = _pairs(json.loads(path.read_text()))
        except json.JSONDecodeError as e:
            raise ValueError(f"{path} is no JSON ({e}); rebuild it with `r1 run`") from e
    return metrics


def read_curves(folder: Path) -> dict[str, dict[str, list[float | None]]]:
    """plots/r1_zero.csv → {"r1_zero": {"step": [...], "reward": [...]}}; an empty cell is None."""
    paths = sorted(Path(folder).rglob("*.csv"))
    return {path.relative_to(folder).with_suffix("").as_posix(): _columns(path) for path in paths}


def _columns(path: Path) -> dict[str, list[float | None]]:
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    return {c: [_number(path, i, c, row[c]) for i, row in enumerate(rows, 2)] for c in (rows[0] if rows else ())}


def _number(path: Path, line: int, column: str, cell: str | None) -> float | None:
    if cell in (None, ""):
        return None
    try:
        return float(cell)
    except ValueError as e:
        raise ValueError(f"{path}:{line}: {column} is {cell!r}, not a number; rebuild it with `r1 run`") from e


def read_run_book(folder: Path) -> dict[str, dict]:
    """work/runs/*.json by stage: what each stage's last run cost, measured. Empty where nothing ran here.

    `steps` of a stage that trained step by step: the columns of its <stage>.steps.csv.
    """
    book = {}
    for path in sorted(Path(folder).glob("**/*.json")):
        try:
            entry = json.loads(path.read_text())
        except json.JSONDecodeError:
            continue  # a run that was killed while writing its page
        if isinstance(entry, dict) and "stage" in entry:
            steps = path.with_suffix(".steps.csv")
            book[entry["stage"]] = entry | ({"steps": _columns(steps)} if steps.is_file() else {})
    return book


def as_json(results: dict) -> str:
    """results.json: stable order of keys as built, characters as they are, a newline at the end."""
    return json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
