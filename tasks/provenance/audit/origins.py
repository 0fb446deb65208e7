"""The last link: a prompt names its source, the source's licence, and the place in it."""

from tasks.provenance.audit.books import Books, read
from tasks.provenance.audit.finding import SHOWN, Collector
from tasks.provenance.tables import Table

REBUILD = "rebuild it: `r1 run {}`"


def origins(db, books: Books, table: Table, found: Collector) -> None:
    """Every prompt is of a declared source, under its declared licence, at a place that source has."""
    where, remedy = books.shown(table.file), REBUILD.format(table.stage)
    seen = db.sql(
        f"SELECT source, licence, count(*), min(id) FROM {read([table])} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    for source, licence, rows, first in seen:
        entry = books.sources.get(source)
        if entry is None:
            found.add(where, f"comes from {source!r}, which is no declared source", remedy, first, rows)
            continue
        if licence != entry["licence"]:
            found.add(where, f"says licence {licence!r}, its source {source} says {entry['licence']!r}", remedy, first, rows)  # fmt: skip
        _places(db, books, table, source, entry, found)


def _places(db, books: Books, table: Table, source: str, entry: dict, found: Collector) -> None:
    starts, recorded = _starts(books, source, entry)
    where = books.shown(table.file)
    inside = " OR ".join("starts_with(origin, ?)" for _ in starts) or "false"
    lost = [
        id
        for (id,) in db.execute(
            f"SELECT id FROM {read([table])} WHERE source = ? AND NOT coalesce(({inside}) AND regexp_matches(origin, '[:#][0-9]+$'), false) ORDER BY id",
            [source, *starts],
        ).fetchall()
    ]
    found.extend(where, f"names no place in its source {source} (origin)", REBUILD.format(table.stage), lost[:SHOWN], len(lost))  # fmt: skip
    if not recorded:
        found.add(where, f"the files of its source {source} were read without recording their sha256", "pin them: `sha256` of the source in params.yaml", level="remark")  # fmt: skip


def _starts(books: Books, source: str, entry: dict) -> tuple[list[str], bool]:
    """(what an origin of this source may begin with, whether the bits it was read from are on record)."""
    if entry.get("family"):
        return [f"{entry['family']}#"], True
    if entry.get("gym"):
        return [f"gym:{entry['gym']}#"], True
    if entry.get("hub"):
        return [f"hub:{entry['hub']}@{entry['revision']}"], True
    metrics = books.metrics(entry["stage"]) or {}
    files = ((metrics.get("sources") or {}).get(source) or {}).get("sha256") or {}
    pattern = entry["path"].split("*")[0]
    return [*files] or [pattern], bool(files or entry.get("sha256"))
