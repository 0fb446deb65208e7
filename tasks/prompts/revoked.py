"""Tombstones of revoked sources: data/revoked/<stage>.jsonl, kept in git, a dependency of the stage that reads the sources.

One JSON a line: what, name, reason, by, on. A revoked source stays in params.yaml and is not read; the stage's decisions
say so. `r1 revoke` writes them, docs/lineage.md says what follows.
"""

import difflib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tasks.provenance.artifacts import ArtifactError
from tasks.rows import row_id

RULE = "revoked"


@dataclass(frozen=True)
class Tombstone:
    what: str  # "source", or "annotator" whose rows `cold_start` takes no more
    name: str  # as params.yaml or the annotations have it
    reason: str
    by: str
    on: str  # date, YYYY-MM-DD

    def decision(self, stage: str) -> dict:
        """DECISION row on the source as a whole: its rows are not known, because they are not read."""
        return {
            "row_id": row_id(self.what, name=self.name), "stage": stage, "rule": RULE, "value": None, "threshold": None,
            "keep": False, "evidence": f"{self.name}: {self.what} revoked by {self.by} on {self.on}: {self.reason}",
        }  # fmt: skip


def read_tombstones(path: Path) -> dict[str, Tombstone]:
    """By name, in the order of the file; ArtifactError names file and line of one that cannot be understood."""
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; restore it with git, or make an empty file of that name")
    keys, found = {f.name for f in fields(Tombstone)}, {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line.decode("utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ArtifactError(f"{path}:{number}: is no JSON in UTF-8 ({error}); correct or delete the line") from None
        if (
            not isinstance(entry, dict)
            or set(entry) != keys
            or not all(isinstance(v, str) and v for v in entry.values())
        ):
            raise ArtifactError(f"{path}:{number}: expected the keys {', '.join(sorted(keys))}, each with a text")
        if entry["name"] in found:
            raise ArtifactError(
                f"{path}:{number}: {entry['name']} is already revoked in this file; keep one of the lines"
            )
        found[entry["name"]] = Tombstone(**entry)
    return found


def write_tombstones(path: Path, tombstones: Iterable[Tombstone]) -> None:
    """The file as a whole, renamed into place; the same tombstones give the same bytes, none an empty line."""
    lines = "".join(json.dumps(asdict(t), ensure_ascii=False) + "\n" for t in tombstones)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(lines or "\n", encoding="utf-8", newline="\n")  # DVC warns of a file that is empty
    half.replace(path)


def standing(sources: Iterable, revoked: dict[str, Tombstone], stage: str) -> tuple[list, list[dict]]:
    """(the sources, anything with a `name`, that are not revoked; a decision on each that is)."""
    sources = list(sources)
    left = [s for s in sources if s.name not in revoked]
    return left, [revoked[s.name].decision(stage) for s in sources if s.name in revoked]


def unknown(name: str, known: Iterable[str]) -> ArtifactError:
    """The error for a name that no stage reads, with the nearest ones."""
    known = sorted(set(known))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"sources here: {', '.join(known) or 'none'}"
    return ArtifactError(f"no source is called `{name}`; {hint}")
