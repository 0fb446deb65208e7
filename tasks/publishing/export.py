"""An artifact as a folder for others: Parquet that `datasets` loads, or a checkpoint, with README.md and lineage.json.

    data/train-00000-of-00001.parquet     one config of that name for each table where there are several: data/<table>/…
    config.json model.safetensors …       or the checkpoint, its tokenizer with the recipe's chat template
    README.md                             the card (tasks/publishing/cards.py)
    lineage.json                          the card's facts for machines, and the sha256 of every file

The folder is written beside its target and renamed into its place, so that half an export never stands there; the same
artifact of the same commit gives the same bytes.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.provenance.artifacts import ROW_GROUP, ArtifactError, check_files, sha256
from tasks.provenance.tables import Table
from tasks.publishing import cards, formats, licence
from tasks.publishing.facts import Facts
from tasks.publishing.loading import make_loadable

LINEAGE = "lineage.json"
SHARD_BYTES = 500 << 20  # of Parquet in memory before it is compressed; the Hub shows files of this size quickest
WEIGHTS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")  # of a checkpoint; its manifest stays here


def export(
    facts: Facts, target: Path, format: str | None = None, chosen: str | None = None, name: str | None = None
) -> dict:
    """Write the artifact to `target`; returns what lineage.json holds.

    `format`: one of `formats.FORMATS`, by default the artifact's usual one. `chosen`: licence by its SPDX name, held to
    what the sources allow. `name`: of the set or model on its card. Raises ArtifactError: a damaged artifact, a format
    that it has not, a licence that is not open to it, a target that is no export of ours.
    """
    target = Path(target).absolute()
    _ours(target)
    check_files(facts.books.root / facts.out)
    own = licence.chosen(chosen, facts.releases, facts.path, facts.asks_nothing)
    format = _format(facts, format)
    new = target.with_name(f".{target.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        written = _checkpoint(facts, new) if facts.is_checkpoint else _tables(facts, format, new)
        cards.write(facts, new, format, own, name or facts.name, written)
        found = facts.as_json() | {"format": format, "licence": own, "files": _files(new)}
        (new / LINEAGE).write_text(
            json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        _replace(new, target)
    except OSError as error:  # no room, no right to write
        raise ArtifactError(
            f"{facts.path} could not be written to {target}: {error.strerror or error}; an earlier export there stands"
        ) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return found


def _ours(target: Path) -> None:
    """ArtifactError where something stands at `target` that no export wrote: it would be deleted."""
    if not (target.exists() or target.is_symlink()):
        return
    here = {p.relative_to(target).as_posix() for p in target.rglob("*") if not p.is_dir()} if target.is_dir() else {""}
    try:
        wrote = {LINEAGE, *json.loads((target / LINEAGE).read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        wrote = set()
        if here:
            raise ArtifactError(f"{target} is there and is no earlier export: give an empty or new folder") from None
    if strange := sorted(here - wrote):
        raise ArtifactError(
            f"{target} is an earlier export, but {strange[0]} in it is not of it and would be deleted: move it away, or "
            "give another folder"
        )


def _format(facts: Facts, format: str | None) -> str:
    open_to_it = ["transformers"] if facts.is_checkpoint else formats.formats_of(t.kind for t in facts.tables)
    if not facts.is_checkpoint and not facts.tables:
        inside = [path for path in facts.books.weights if path.startswith(f"{facts.path}/")]
        hint = f"name one of its checkpoints: {', '.join(inside)}" if inside else "there is nothing to export"
        raise ArtifactError(f"{facts.path} holds neither a table nor a checkpoint of its own; {hint}")
    if format is not None and format not in open_to_it:
        raise ArtifactError(f"{facts.path} has no format {format!r}; it has {', '.join(open_to_it)}")
    return format or open_to_it[0]


def _files(folder: Path) -> dict[str, dict]:
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): {"sha256": sha256(p), "bytes": p.stat().st_size} for p in paths}


def _replace(new: Path, target: Path) -> None:
    """The finished folder in the place of the old one, which is deleted last."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _checkpoint(facts: Facts, folder: Path) -> dict:
    """Config, weights and tokenizer as they are; the tokenizer gets the template it was trained with."""
    from tasks.prompts.chat import chat_template

    for path in sorted(facts.folder.iterdir()):
        if path.is_file() and path.name != "manifest.json" and any(path.match(part) for part in WEIGHTS):
            shutil.copyfile(path, folder / path.name)  # not a link: a cache's file must not be reached from outside
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if facts.template and (folder / "tokenizer_config.json").is_file():
        (folder / "chat_template.jinja").write_text(chat_template(facts.template), encoding="utf-8")
    make_loadable(folder)
    return {"config": config}


def _tables(facts: Facts, format: str, folder: Path) -> dict:
    """Every table that has the format, as shards; config -> split -> rows, and the columns of each config."""
    licences = _one_licence_each(facts)
    filled = [t for t in facts.tables if t.rows] or facts.tables  # `datasets` reads no types from a split without rows
    wanted = [
        (table, made)
        for table in filled
        if (made := formats.shape(format, table.kind, facts.template, licences)) is not None
    ]
    configs = [_config(table, format, len(wanted)) for table, _ in wanted]
    found: dict[str, dict] = {}
    for config, (table, (schema, make)) in zip(configs, wanted):
        below = "data" if set(configs) == {config} else f"data/{config}"
        schema = schema or pq.read_schema(table.file)
        rows = _write(table, schema, make, folder / below)
        entry = found.setdefault(
            config, {"folder": below, "splits": {}, "columns": {f.name: str(f.type) for f in schema}}
        )
        if twice := set(entry["splits"]) & set(rows):
            raise ArtifactError(f"{facts.path}: two tables would fill split {min(twice)} of config {config}")
        entry["splits"] |= rows
    return {"configs": found}


def _config(table: Table, format: str, tables: int) -> str:
    """Tables of prompts are splits of one set; in a format of rows every table is a config of its own."""
    if tables == 1 or (format != "rows" and table.kind == "prompt"):
        return "default"
    return table.name.replace("/", "-")


def _one_licence_each(facts: Facts) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for s in facts.sources:
        found.setdefault(s["source"], set()).add(s["licence"])
    return {source: " AND ".join(sorted(licences)) for source, licences in found.items()}


def _write(table: Table, schema: pa.Schema, make: formats.Make, folder: Path) -> dict[str, int]:
    """Rows of each split, written as shards of a known number; a split is what the row says, else `train`."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: dict[str, list[Path]] = {}
    writers: dict[str, pq.ParquetWriter] = {}
    sizes, counts = {}, {}
    for split, rows in _batches(table):
        if sizes.get(split, 0) > SHARD_BYTES:
            writers.pop(split).close()
        if split not in writers:
            part = folder / f".{split}-{len(shards.setdefault(split, []))}"
            shards[split].append(part)
            writers[split], sizes[split] = pq.ParquetWriter(part, schema, compression="zstd"), 0
        batch = pa.Table.from_pylist([make(row) for row in rows], schema=schema)
        writers[split].write_table(batch)
        sizes[split] += batch.nbytes
        counts[split] = counts.get(split, 0) + len(rows)
    for writer in writers.values():
        writer.close()
    for split, parts in shards.items():
        for number, part in enumerate(parts):
            part.rename(folder / f"{split}-{number:05}-of-{len(parts):05}.parquet")
    return dict(sorted(counts.items(), key=lambda i: (i[0] != "train", i[0])))


def _batches(table: Table) -> Iterator[tuple[str, list[dict]]]:
    """(split, rows) in the order of the table, a row group at a time."""
    with pq.ParquetFile(table.file) as file:
        for batch in file.iter_batches(ROW_GROUP):
            groups: dict[str, list[dict]] = {}
            for row in batch.to_pylist():
                split = row.get("split") or "train"
                groups.setdefault(formats.SPLITS.get(split, split), []).append(row)
            yield from groups.items()
        if not file.metadata.num_rows:
            yield "train", []
