"""The tables of finished artifacts, found from their manifests alone: which file holds which kind of row.

A kind is the schema of tasks/rows.py whose columns a table has; tables with columns of their own are "other" (outcomes,
near_duplicates, agreement, exam …). Nothing is opened but the manifests: whole tables are DuckDB's or Parquet's.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks import rows
from tasks.provenance.artifacts import ArtifactError

Kind = Literal["prompt", "completion", "verdict", "decision", "sft_example", "preference_pair", "safety_label", "other"]
SCHEMAS = {
    "prompt": rows.PROMPT,
    "completion": rows.COMPLETION,
    "verdict": rows.VERDICT,
    "decision": rows.DECISION,
    "sft_example": rows.SFT_EXAMPLE,
    "preference_pair": rows.PREFERENCE_PAIR,
    "safety_label": rows.SAFETY_LABEL,
}
_NAMES = {kind: frozenset(schema.names) for kind, schema in SCHEMAS.items()}


@dataclass(frozen=True)
class Table:
    """One Parquet file of an artifact, as the artifact's manifest describes it."""

    artifact: Path  # folder of the manifest
    file: Path  # the Parquet file itself, inside `artifact`
    kind: Kind
    rows: int
    columns: dict[str, str]  # name -> Arrow type, in the order of names
    stage: str  # that made it, e.g. distill@qwen
    sha256: str  # of the file when it was published
    bytes: int

    @property
    def name(self) -> str:
        """Path inside the artifact, without the suffix: `examples`, `benchmarks/items`."""
        return self.file.relative_to(self.artifact).with_suffix("").as_posix()


def kind_of(columns: Iterable[str]) -> Kind:
    """The kind of rows that have these columns, and perhaps more."""
    found = set(columns)
    return next((kind for kind, names in _NAMES.items() if names <= found), "other")


def artifacts(folders: Path | Iterable[Path]) -> Iterator[Path]:
    """The artifacts among `folders` and below them, sorted within each; hidden folders are passed over."""
    for top in [folders] if isinstance(folders, str | os.PathLike) else folders:
        for here, below, files in os.walk(top):
            if "manifest.json" in files:
                yield Path(here)
                below.clear()
            below[:] = sorted(name for name in below if not name.startswith("."))


def manifests(folders: Path | Iterable[Path]) -> Iterator[tuple[Path, dict]]:
    """(folder, manifest) of every artifact among `folders` and below them. ArtifactError where one cannot be read."""
    for folder in artifacts(folders):
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(manifest["files"], dict):
                raise TypeError(f"files is {type(manifest['files']).__name__}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(path, error) from None
        yield folder, manifest


def tables(folders: Path | Iterable[Path]) -> list[Table]:
    """Every table of the artifacts among `folders` or below them, such as `[root / "data"]`.

    ArtifactError where a manifest cannot be read or names a file outside its folder.
    """
    return [table for folder, manifest in manifests(folders) for table in tables_of(folder, manifest)]


def tables_of(folder: Path, manifest: dict) -> Iterator[Table]:
    """The tables of one artifact, whose manifest is this."""
    path = folder / "manifest.json"
    try:
        files = {name: entry for name, entry in manifest["files"].items() if "columns" in entry}
        stage = manifest.get("stage", "")
        for name, entry in files.items():
            if os.path.isabs(name) or ".." in Path(name).parts or "\0" in name:
                raise ArtifactError(f"{path}: {name!r} lies outside its folder; the manifest was tampered with")
            if not re.fullmatch("[0-9a-f]{64}", entry["sha256"]):
                raise ArtifactError(f"{path}: the sha256 of {name!r} is none; the manifest was tampered with")
            columns = entry["columns"]
            kind = kind_of(columns)
            yield Table(folder, folder / name, kind, entry["rows"], columns, stage, entry["sha256"], entry["bytes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path} is no manifest ({type(error).__name__}: {error}); rebuild the artifact with `r1 run`")
