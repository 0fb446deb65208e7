"""What every check reads: the stages as the graph and its lock have them, parameters, metrics, and the tables.

Plain data, so that the checks know neither DVC nor git; flows/orchestration/books.py fills it from a checkout.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.provenance.artifacts import ArtifactError, read_manifest
from tasks.provenance.tables import Kind, Table, tables

Md5s = dict[str, str | None]  # path -> md5 as locked, None where nothing is


@dataclass(frozen=True)
class Stage:
    """One stage of the graph, with what its last run was made from and gave."""

    stage: str  # distill@qwen
    name: str  # distill
    item: str | None
    desc: str = ""
    inputs: Md5s = field(default_factory=dict, hash=False)  # data it reads
    outs: Md5s = field(default_factory=dict, hash=False)  # data, metrics and plots it writes
    params: dict[str, Any] = field(default_factory=dict, hash=False)  # dotted key -> value it was made with
    upstream: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()  # why it is out of date, a line each

    @property
    def section(self) -> dict:
        """Its own section of params.yaml."""
        return self.params.get(self.name) or {}


@dataclass(frozen=True)
class Books:
    """One state of the repository."""

    root: Path
    stages: dict[str, Stage]
    values: dict  # params.yaml
    commit: str | None
    dirty: tuple[str, ...]  # paths that differ from the commit
    folder_md5: Callable[[dict[str, str]], str]  # {path inside: md5} -> md5 of a folder, as the lock writes it

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """All tables of the stages' outputs, in the order of the graph; what is missing, `checksums` says."""
        outs = [self.root / path for stage in self.stages.values() for path in stage.outs]
        return tuple(t for t in tables(path for path in outs if path.is_dir()) if t.file.is_file())

    def of(self, *kinds: Kind) -> list[Table]:
        return [t for t in self.tables if t.kind in kinds]

    def made_by(self, stage: str, name: str) -> Table | None:
        """The table `name` of a stage, or None where it has none (or the graph no such stage)."""
        return next((t for t in self.tables if t.stage == stage and t.name == name), None)

    def shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def metrics(self, stage: str) -> dict | None:
        """The metrics that a stage left; None where it leaves none or they are not here."""
        for path in self.stages[stage].outs if stage in self.stages else ():
            if path.startswith("metrics/"):
                return self.json(path)
        return None

    def json(self, path: str) -> dict | None:
        """A JSON file of the working tree; None where it is missing, ArtifactError where it is none."""
        file = self.root / path
        if not file.is_file():
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactError(f"{file} is no JSON ({error}); make it again with `r1 run`") from None

    @cached_property
    def weights(self) -> dict[str, str]:
        """Folder of a checkpoint, relative to the root -> sha256 of its weights, as completions name their model."""
        import hashlib

        found = {}
        for stage in self.stages.values():
            for out in stage.outs:
                if not (self.root / out / "manifest.json").is_file():
                    continue
                folders: dict[str, list[str]] = {}
                for name, entry in read_manifest(self.root / out)["files"].items():
                    if name.endswith(".safetensors"):
                        inside = Path(name).parent.as_posix()
                        folders.setdefault(out if inside == "." else f"{out}/{inside}", []).append(entry["sha256"])
                for folder, shas in folders.items():
                    joined = hashlib.sha256("".join(sorted(shas)).encode()).hexdigest()
                    found[folder] = shas[0] if len(shas) == 1 else joined
        return found

    @cached_property
    def sources(self) -> dict[str, dict]:
        """Every source of prompts as declared when it was read: name -> its entry; `stage` says who read it."""
        found = {}
        for stage, key in (("prompts", "sources"), ("candidates", "imported")):
            for entry in (self.stages[stage].section.get(key) or ()) if stage in self.stages else ():
                found[entry["name"]] = entry | {"stage": stage}
        return found

    @cached_property
    def preference_sources(self) -> dict[str, dict]:
        stage = self.stages.get("preferences")
        return {entry["name"]: entry for entry in (stage.section.get("sources") or ())} if stage else {}

    @cached_property
    def annotations(self) -> tuple[str | None, dict[tuple[str, str], dict]]:
        """(path of the file, {(annotator, id): annotation}) of what people reviewed."""
        stage = self.stages.get("cold_start")
        path = stage.section.get("annotations") if stage else None
        if not path or not (self.root / path).is_file():
            return path, {}
        rows = [json.loads(line) for line in (self.root / path).read_text(encoding="utf-8").splitlines() if line]
        return path, {(row["annotator"], row["id"]): row for row in rows}


def files(found: Iterable[Table]) -> list[str]:
    """Paths for DuckDB."""
    return [str(t.file) for t in found]


def connect(threads: int = 2):
    """A DuckDB in memory; it keeps to `threads` and to 4 GB, and spills beyond them."""
    import duckdb

    return duckdb.connect(":memory:", config={"threads": threads, "memory_limit": "4GB"})


def read(paths: Iterable[Table]) -> str:
    """SQL of all rows of these tables, with their file in `filename`; none of no table."""
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in files(paths))
    return f"read_parquet([{listed}], filename=true, union_by_name=true)"
