"""What every check reads: the stages as the graph and its lock have them, parameters, metrics, and the tables.

Plain data, so that the checks know neither DVC nor git; flows/orchestration/books.py fills it from a checkout.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.curation.annotation import Annotation
from tasks.provenance.artifacts import ArtifactError, read_manifest
from tasks.provenance.reviewed import reviewed
from tasks.provenance.tables import Kind, Table, tables
from tasks.provenance.weights import weights
from tasks.rows import row_id

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
        """All tables of the stages' outputs that are here, in the order of the graph."""
        return tuple(t for t in self._listed if t.file.is_file())

    @cached_property
    def absent(self) -> tuple[str, ...]:
        """Outputs of stages, and tables that a manifest lists, that are not here: nobody can look at their rows."""
        outs = [out for stage in self.stages.values() for out in stage.outs if out.startswith("data/")]
        gone = [out for out in outs if not (self.root / out).exists()]
        return (*gone, *(self.shown(t.file) for t in self._listed if not t.file.is_file()))

    @cached_property
    def _listed(self) -> list[Table]:
        outs = [self.root / path for stage in self.stages.values() for path in stage.outs]
        return tables(path for path in outs if path.is_dir())

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
        outs = [out for stage in self.stages.values() for out in stage.outs]
        made = [out for out in outs if (self.root / out / "manifest.json").is_file()]
        return {folder: sha for out in made for folder, sha in weights(out, read_manifest(self.root / out)).items()}

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

    def preference_source(self, prompt_id: str, prompt: str) -> str | None:
        """The declared preference source whose prompt this is, by its id, as tasks/prompts/preferences.py makes it."""
        return next((n for n in self.preference_sources if prompt_id == row_id("prompt", source=n, text=prompt)), None)

    @cached_property
    def annotations(self) -> tuple[str | None, list[Annotation]]:
        """(path of the file, what people reviewed in its order)."""
        stage = self.stages.get("cold_start")
        path = stage.section.get("annotations") if stage else None
        return path, reviewed(self.root / path) if path else []


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


def unreadable() -> tuple[type[Exception], ...]:
    """What reading a damaged table raises in the libraries that read them."""
    import duckdb
    import pyarrow as pa

    return OSError, UnicodeDecodeError, duckdb.Error, pa.ArrowException
