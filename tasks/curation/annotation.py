"""Human verdicts and edits: the store they are kept in (paper 2.3.1: post-processing by human annotators).

The store is one JSON per line, kept in git beside the recipe and a dependency of the stage that reads it. A row
says everything about itself, so it survives a retrained model; its id is the reviewed completion's.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

VERDICTS = ("accept", "edit", "reject")


class AnnotationError(Exception):
    """One or more faults in a file of annotations, each with file, row, column and remedy; nothing was written."""

    def __init__(self, faults: list[str]):
        self.faults = faults
        super().__init__("\n".join(faults))


@dataclass(frozen=True)
class Annotation:
    id: str  # of the reviewed row
    prompt_id: str
    prompt: str  # the bare question
    gold: str | None
    text: str  # the response as the model wrote it
    edited: str | None  # the response as the annotator wants it; only with verdict "edit"
    verdict: str  # one of VERDICTS
    annotator: str
    note: str | None = None

    @property
    def response(self) -> str | None:
        """The response a human stands behind; None where it was rejected."""
        return {"accept": self.text, "edit": self.edited, "reject": None}[self.verdict]


def check(row: Annotation) -> list[tuple[str, str]]:
    """(column, what is wrong and what to do) of each fault inside one annotation."""
    faults = []
    if not row.verdict:
        faults.append(("verdict", f"is empty; write one of {', '.join(VERDICTS)}"))
    elif row.verdict not in VERDICTS:
        faults.append(("verdict", f"{row.verdict!r} is none of {', '.join(VERDICTS)}"))
    if row.verdict == "edit" and not (row.edited or "").strip():
        faults.append(("edited", "is empty but the verdict is edit; write the new response, or accept or reject"))
    if row.verdict in ("accept", "reject") and row.edited:
        faults.append(("edited", f"has a text but the verdict is {row.verdict}; say edit, or empty the cell"))
    if not row.annotator.strip():
        faults.append(("annotator", "is empty; say who annotated"))
    return faults


def read_annotations(path: Path) -> list[Annotation]:
    """Every annotation of the store, checked; an empty file is an empty list."""
    path = Path(path)
    if not path.is_file():
        raise AnnotationError([f"{path} is missing; restore it with git, or make an empty file of that name"])
    known = {f.name: f for f in fields(Annotation)}
    rows, faults, seen = [], [], {}
    for n, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            entry = json.loads(line.decode("utf-8"))
            row = Annotation(**entry)
        except (UnicodeDecodeError, json.JSONDecodeError) as e:
            faults.append(f"{path}:{n}: is no JSON in UTF-8 ({e}); delete the line and import its file again")
            continue
        except TypeError:
            found = set(entry) if isinstance(entry, dict) else set()
            faults.append(f"{path}:{n}: has the keys {sorted(found)}, expected {sorted(known)}")
            continue
        faults += [f"{path}:{n}:{column}: {what}" for column, what in check(row)]
        if (first := seen.setdefault((row.id, row.annotator), n)) != n:
            faults.append(f"{path}:{n}:id: {row.id} by {row.annotator} is already in line {first}; keep one of them")
        rows.append(row)
    if faults:
        raise AnnotationError(faults)
    return rows


def merge(old: Iterable[Annotation], new: Iterable[Annotation]) -> list[Annotation]:
    """Both, sorted: a later import by the same annotator replaces the earlier one, other annotators' rows stay."""
    rows = {(r.id, r.annotator): r for r in old} | {(r.id, r.annotator): r for r in new}
    return [rows[key] for key in sorted(rows)]


def write_annotations(path: Path, rows: Iterable[Annotation]) -> None:
    """Write the store as a whole and rename it into place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(r), ensure_ascii=False) + "\n" for r in rows]
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text("".join(lines), encoding="utf-8", newline="\n")
    half.replace(path)
