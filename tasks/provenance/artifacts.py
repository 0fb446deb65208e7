"""Folders of an artifact: Parquet tables or safetensors, and the manifest that vouches for them.

A folder is written in full under the stage's work folder and renamed into place, so a reader never sees
half of one. `manifest.json` lists every file with its sha256; readers check before they use, because a
flipped bit in Parquet is otherwise read back as a wrong value without any error.
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

REBUILD = "rebuild it with `r1 run`, or `dvc checkout --force`"
ROW_GROUP = 8192  # rows; the library's default holds gigabytes of text in the writer


class _NoPandas:
    """Finds every module but pandas."""

    @staticmethod
    def find_spec(name: str, path=None, target=None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _without_pandas() -> None:
    """Have pyarrow make its first array while there is no pandas.

    It would import pandas, 0.6 CPU-s and half of what a small stage takes, to see whether a list is perhaps pandas' own.
    It asks but once; where pandas is needed, in `to_pandas()`, it looks again (pandas-shim.pxi: _check_import).
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NoPandas)
        try:
            pa.array([0])
        finally:
            sys.meta_path.remove(_NoPandas)


_without_pandas()


class ArtifactError(Exception):
    """An artifact is missing, damaged or not of the expected schema; the message names file and remedy."""


def sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_rows(folder: Path, name: str, rows: Iterable[dict], schema: pa.Schema) -> int:
    """Write `folder/name.parquet`, a row group at a time; returns the number of rows. A key outside the schema is an error."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, written = iter(rows), 0
    with pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd") as writer:
        while group := list(islice(rows, ROW_GROUP)):
            for i, row in enumerate(group, written):
                if extra := row.keys() - set(schema.names):
                    raise ArtifactError(
                        f"{folder / name}.parquet row {i}: columns {sorted(extra)} are not in its schema"
                    )
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            written += len(group)
    return written


def write_manifest(folder: Path, **facts) -> dict:
    """Describe every file of `folder` in `folder/manifest.json` (sha256, bytes, rows, schema) plus `facts`."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"):
        entry = {"sha256": sha256(path), "bytes": path.stat().st_size}
        if path.suffix == ".parquet":
            meta = pq.read_metadata(path)
            entry |= {"rows": meta.num_rows, "columns": {f.name: str(f.type) for f in meta.schema.to_arrow_schema()}}
        files[path.relative_to(folder).as_posix()] = entry
    manifest = {**facts, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest


def read_manifest(folder: Path) -> dict:
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: {folder} is no finished artifact; rebuild it with `r1 run`")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(manifest["files"], dict):
            return manifest
    except (ValueError, KeyError, TypeError):
        pass
    raise ArtifactError(f"{path} is damaged: no manifest can be read from it; delete the folder and {REBUILD}")


def check_files(folder: Path) -> None:
    """Compare all files of an artifact, or of a folder inside one, with its manifest; ArtifactError names the first.

    A file that the manifest does not know is an error too. A folder without a manifest, such as a checkpoint of your
    own, is not checked.
    """
    folder = Path(folder)
    for sealed, inside in ((folder, ""), (folder.parent, f"{folder.name}/")):
        if not (sealed / "manifest.json").is_file():
            continue
        known = {name for name in read_manifest(sealed)["files"] if name.startswith(inside)}
        found = {p.relative_to(sealed).as_posix() for p in folder.rglob("*") if p.is_file()} - {"manifest.json"}
        if strange := sorted(found - known):
            raise ArtifactError(f"{sealed / strange[0]} is not in its manifest: somebody put it there; remove it")
        for name in sorted(known):
            checked(sealed, name)
        return


def checked(folder: Path, file: str) -> Path:
    """Path of `folder/file` after comparing its sha256 with the manifest."""
    folder = Path(folder)
    if Path(file).is_absolute() or ".." in Path(file).parts or "\0" in file:
        raise ArtifactError(f"{file!r} is no name of a file inside {folder}")
    entry = read_manifest(folder)["files"].get(file)
    path = folder / file
    if entry is None or not path.is_file():
        raise ArtifactError(f"{path} is missing; rebuild it with `r1 run`")
    if (found := sha256(path)) != entry["sha256"]:
        raise ArtifactError(
            f"{path} is damaged: sha256 {found[:12]}… but its manifest says {entry['sha256'][:12]}…; "
            f"delete the folder and {REBUILD}"
        )
    return path


def read_rows(folder: Path, name: str, schema: pa.Schema | None = None) -> list[dict]:
    """Rows of `folder/name.parquet`, after checking its sha256 and, where given, its schema."""
    path = checked(folder, f"{name}.parquet")
    table = pq.read_table(path)
    if schema is not None and not table.schema.equals(schema, check_metadata=False):
        raise ArtifactError(f"{path}: its columns are {table.schema.names}, expected {schema.names}")
    return table.to_pylist()


def weights_sha(folder: Path) -> str:
    """sha256 of a checkpoint's weights, the model's name in every completion it made.

    Where the folder has a manifest the weights must be the ones it vouches for; a checkpoint of your own needs none.
    """
    folder = Path(folder)
    names = sorted(p.name for p in folder.glob("*.safetensors"))
    if not names:
        raise ArtifactError(f"{folder} holds no *.safetensors file: it is no checkpoint")
    sealed = (folder / "manifest.json").is_file()
    weights = sorted(sha256(checked(folder, name) if sealed else folder / name) for name in names)
    return weights[0] if len(weights) == 1 else hashlib.sha256("".join(weights).encode()).hexdigest()
