"""Review sheets: rows out to a person with a spreadsheet or a text editor, verdicts and edits back in.

A sheet is CSV (UTF-8 with BOM, so that spreadsheets read it as such) or JSONL, by its suffix. What a person may fill in
is `verdict`, `edited` and `note`; every other column comes back unchanged or the row is refused, because an edit in
the wrong column, or a number that a spreadsheet turned into a date, would otherwise enter the training set.
"""

import csv
import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tasks.curation.annotation import Annotation, AnnotationError, check

COLUMNS = ("id", "prompt_id", "prompt", "gold", "text", "route", "reason", "verdict", "edited", "note")
FIXED = ("prompt_id", "prompt", "gold", "text")
NEEDED = ("id", *FIXED, "verdict", "edited")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # a cell that starts so would be computed, or its quote eaten
ERRORS = ("#NAME?", "#VALUE!", "#REF!", "#DIV/0!", "#N/A", "#NUM!", "#NULL!")
REPLACEMENT = "\ufffd"
csv.field_size_limit(1 << 30)  # the library's default is shorter than a long chain of thought


@dataclass(frozen=True)
class ReviewRow:
    """One response for a person to review."""

    id: str
    prompt_id: str
    prompt: str
    gold: str | None
    text: str
    route: str | None  # how it was collected
    reason: str | None  # the rule that dropped it; None where it was kept


def review_rows(candidates: list[dict], decisions: list[dict], prompts: dict[str, dict]) -> list[ReviewRow]:
    """Candidates (COMPLETION rows) with why they were dropped; those that failed the fewest rules first, kept ones last."""
    failed: dict[str, list[str]] = {}
    for d in decisions:
        if not d["keep"]:
            failed.setdefault(d["row_id"], []).append(d["rule"])
    rows = []
    for c in sorted(candidates, key=lambda c: (len(failed.get(c["id"], ())) or len(decisions), c["id"])):
        prompt = prompts[c["prompt_id"]]
        reason = ", ".join(failed.get(c["id"], ())) or None
        route = json.loads(c["settings"]).get("route")
        rows.append(ReviewRow(c["id"], c["prompt_id"], prompt["text"], prompt["gold"], c["text"], route, reason))
    return rows


def write_sheet(path: Path, rows: Iterable[ReviewRow]) -> int:
    """Write the rows with empty verdict, edited and note; returns their number."""
    path = Path(path)
    cells = [{c: getattr(row, c, None) or "" for c in COLUMNS} for row in rows]
    if path.suffix == ".jsonl":
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in cells).encode()
    elif path.suffix == ".csv":
        sheet = io.StringIO(newline="")
        writer = csv.DictWriter(sheet, COLUMNS, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows({c: _escape(v) for c, v in row.items()} for row in cells)
        content = sheet.getvalue().encode("utf-8-sig")
    else:
        raise AnnotationError([f"{path}: a sheet ends in .csv or .jsonl"])
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_bytes(content)
    half.replace(path)
    return len(cells)


def read_sheet(path: Path, known: dict[str, ReviewRow], annotator: str, partial: bool = False) -> list[Annotation]:
    """The annotations of a sheet, held against the rows that were given out (`known`, by id).

    Every fault of the whole sheet is raised at once. With `partial`, rows nobody has touched are skipped.
    """
    path = Path(path)
    rows, faults, seen = [], [], {}
    for n, cells in _cells(path):
        where = f"{path}:{n}"
        if partial and not any(cells.get(c) for c in ("verdict", "edited", "note")):
            continue
        faults += [
            f"{where}:{c}: its encoding is broken ({REPLACEMENT}); save the sheet as UTF-8"
            for c in COLUMNS
            if REPLACEMENT in cells.get(c, "") and REPLACEMENT not in (getattr(known.get(cells["id"].strip()), c, None) or "")
        ]
        if (key := cells["id"].strip()) not in known:
            faults.append(f"{where}:id: {key!r} was not given out; export again, and leave the id column as it is")
            continue
        if (first := seen.setdefault(key, n)) != n:
            faults.append(f"{where}:id: {key} is already in row {first}; keep one of them")
        faults += [f"{where}:{c}: {what}" for c, what in _changed(cells, known[key])]
        row = _annotation(cells, known[key], annotator)
        faults += [f"{where}:{c}: {what}" for c, what in check(row)]
        if (row.edited or "").strip() in ERRORS:
            faults.append(f"{where}:edited: {row.edited} is a spreadsheet's error; format the cell as text first")
        rows.append(row)
    if not rows and not faults:
        faults.append(f"{path}: holds no row with a verdict; fill in the column `verdict`")
    if faults:
        raise AnnotationError(faults)
    return rows


def _annotation(cells: dict[str, str], row: ReviewRow, annotator: str) -> Annotation:
    return Annotation(
        id=row.id,
        prompt_id=row.prompt_id,
        prompt=row.prompt,
        gold=row.gold,
        text=row.text,
        edited=_newlines(cells["edited"]) or None,
        verdict=cells["verdict"].strip().lower(),
        annotator=annotator,
        note=cells.get("note", "").strip() or None,
    )


def _changed(cells: dict[str, str], row: ReviewRow) -> list[tuple[str, str]]:
    remedy = {"text": "put the new response into `edited` (a spreadsheet cuts at 32,767 characters; .jsonl does not)"}
    default = "restore it, or export again and import all columns as text (a spreadsheet turns 1/2 into a date)"
    return [
        (c, f"was changed from {_short(getattr(row, c))} to {_short(cells[c])}; {remedy.get(c, default)}")
        for c in FIXED
        if _newlines(cells[c]).strip() != _newlines(getattr(row, c) or "").strip()
    ]


def _cells(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(row number as a spreadsheet or editor shows it, cells) for each row of the sheet."""
    if not path.is_file():
        raise AnnotationError([f"{path}: no such file"])
    content = path.read_bytes()
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as e:
        line = content[: e.start].count(b"\n") + 1
        raise AnnotationError([f"{path}: line {line} is not UTF-8; save the sheet as `CSV UTF-8`"]) from None
    if path.suffix == ".jsonl":
        return _json_cells(path, text)
    if path.suffix not in (".csv", ".tsv", ".txt"):
        raise AnnotationError([f"{path}: a sheet ends in .csv or .jsonl; save it as `CSV UTF-8`"])
    return _csv_cells(path, text)


def _csv_cells(path: Path, text: str) -> list[tuple[int, dict[str, str]]]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # a spreadsheet writes the one of its country
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as e:
        raise AnnotationError([f"{path}: is no CSV ({e}); save the sheet as `CSV UTF-8`"]) from None
    names = [name.strip().lower() for name in table[0]] if table else []
    _check_columns(path, names)
    rows, faults = [], []
    for n, values in enumerate(table[1:], 2):
        if not any(v.strip() for v in values):
            continue
        if len(values) > len(names) and any(values[len(names) :]) or len(values) < len(names):
            faults.append(f"{path}:{n}: has {len(values)} cells, the header {len(names)}; a quote or {delimiter!r} is lost")
            continue
        rows.append((n, {name: _unescape(v) for name, v in zip(names, values, strict=False)}))
    if faults:
        raise AnnotationError(faults)
    return rows


def _json_cells(path: Path, text: str) -> list[tuple[int, dict[str, str]]]:
    rows, faults = [], []
    for n, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("a row is an object")
            _check_columns(path, entry)
            rows.append((n, {k: "" if v is None else str(v) for k, v in entry.items()}))
        except ValueError as e:
            faults.append(f"{path}:{n}: is no JSON row ({e}); one object a line")
    if faults:
        raise AnnotationError(faults)
    return rows


def _check_columns(path: Path, names: Iterable[str]) -> None:
    names = list(names)
    if missing := [c for c in NEEDED if c not in names]:
        raise AnnotationError([f"{path}: the columns {', '.join(missing)} are missing; export again and keep the header"])
    if twice := sorted({c for c in names if c and names.count(c) > 1}):
        raise AnnotationError([f"{path}: the columns {', '.join(twice)} stand there twice; keep one of each"])


def _escape(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _unescape(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _newlines(cell: str) -> str:
    return cell.replace("\r\n", "\n").replace("\r", "\n")


def _short(text: str | None) -> str:
    text = text or ""
    return repr(text if len(text) <= 40 else text[:39] + "…")
