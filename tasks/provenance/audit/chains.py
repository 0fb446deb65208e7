"""Chains: from every row of every set, link by link, to a line of a source.

    preference pair, safety label ─┐
    SFT example ── completion ─────┼── prompt ── source (file and line, revision and row, or family and number)
    verdict, decision, outcome ────┘      └── or a reviewed row of the annotations

Each link is an anti-join: rows whose id names nothing are what breaks a chain. A row whose text is not the text that
its link has is broken as well.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tasks.curation.annotation import Annotation
from tasks.provenance.audit.books import Books, connect, read
from tasks.provenance.audit.finding import SHOWN, Collector, Outcome
from tasks.provenance.audit.origins import origins
from tasks.provenance.tables import Table
from tasks.rows import row_id

REMEDY = "rebuild it from what is there: `r1 run {}`; a table was exchanged without what comes after it"
COPIES = ("evaluate",)  # stages whose prompt tables are copies of the final split, no origin of their own
REFINED = "cold_start"  # the stage whose responses are made readable after sampling
BATCH = 8192  # rows that Python looks at in one go


def check(books: Books) -> Outcome:
    """No link of any row of any table is broken."""
    found = Collector()
    with connect() as db:
        _lay_out(db, books)
        links = [link for table in books.tables for link in _links(table)]
        rows = 0
        for link in links:
            rows += link.table.rows
            _broken(db, books, link, found)
        for table in books.of("sft_example"):
            _example_texts(db, books, table, found)
        for table in books.of("preference_pair", "safety_label"):
            _preference_prompts(db, books, table, found)
        for table in books.of("completion"):
            _models(db, books, table, found)
        for table in books.of("prompt"):
            if table.stage.split("@")[0] not in COPIES:
                origins(db, books, table, found)
        _rejected_rows(db, books, found)
    sets = [{"set": books.shown(t.file), "kind": t.kind, "rows": t.rows} for t in books.tables if t.kind != "other"]
    return found.outcome(sum(t.rows for t in books.tables), "rows", links=len(links), sets=sets)


@dataclass(frozen=True)
class Link:
    """A column whose ids must stand in a table of ids: prompts, completions, examples or anything that is decided on."""

    table: Table
    column: str
    to: str


def _links(table: Table) -> Iterable[Link]:
    """The links of a table by its columns; the prompts of preference sources and raw rows have chains of their own."""
    if table.kind in ("preference_pair", "safety_label"):
        return
    if "prompt_id" in table.columns:
        yield Link(table, "prompt_id", "prompts")
    if "completion_id" in table.columns:
        yield Link(table, "completion_id", "completions")
    if table.kind == "decision":
        yield Link(table, "row_id", "decided")
    if table.kind == "other":
        for column in ("id", "kept_id"):
            if column in table.columns:
                yield Link(table, column, "completions")


def _lay_out(db, books: Books) -> None:
    """Tables of every known id. `decided`: whatever a decision may be about."""
    import pyarrow as pa

    prompts = [t for t in books.of("prompt") if t.stage.split("@")[0] not in COPIES]
    _, annotated = books.annotations
    made = [row_id("annotation", of=a.id, annotator=a.annotator, response=a.response) for a in annotated]
    texts = {"id": [a.prompt_id for a in annotated], "text": [a.prompt for a in annotated]}
    strings = pa.schema([("id", pa.string()), ("text", pa.string())])
    db.register("reviewed", pa.table(texts, schema=strings))
    db.register("annotation_rows", pa.table({"id": pa.array(made, pa.string())}))
    db.register("revoked", pa.table({"id": pa.array(_revocable(books), pa.string())}))
    _ids(db, "bank", prompts)
    db.sql("CREATE TABLE prompts AS SELECT id FROM bank UNION SELECT id FROM reviewed")
    _ids(db, "completions", books.of("completion"))
    _ids(db, "examples", books.of("sft_example"))
    _ids(db, "pairs", books.of("preference_pair", "safety_label"))
    everything = " UNION ALL ".join(f"SELECT id FROM {t}" for t in ("prompts", "completions", "examples", "pairs", "annotation_rows", "revoked"))  # fmt: skip
    db.sql(f"CREATE VIEW decided AS {everything}")


def _ids(db, name: str, tables: list[Table]) -> None:
    db.sql(f"CREATE TABLE {name} AS SELECT id FROM {read(tables)}" if tables else f"CREATE TABLE {name} (id VARCHAR)")


def _revocable(books: Books) -> list[str]:
    """Ids that decisions on a revoked source, or annotator, as a whole are on (tasks/prompts/revoked.py)."""
    sources, people = {*books.sources, *books.preference_sources}, {a.annotator for a in books.annotations[1]}
    return [row_id(what, name=n) for what, names in (("source", sources), ("annotator", people)) for n in sorted(names)]


def _broken(db, books: Books, link: Link, found: Collector) -> None:
    """Ids that name nothing. Raw rows that became no prompt have ids of their own (`row_…`): see _rejected_rows."""
    may_be_null = link.table.kind == "sft_example" and link.column == "completion_id"
    allowed = "" if may_be_null else f" OR t.{link.column} IS NULL"
    if link.to == "decided":
        allowed = f" AND NOT starts_with(t.{link.column}, 'row_'){allowed}"
    lost = db.sql(
        f"SELECT t.{link.column}, count(*) FROM {read([link.table])} t WHERE (t.{link.column} NOT IN (SELECT id FROM {link.to} "
        f"WHERE id IS NOT NULL){allowed}) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    what = {"decided": "row", "prompts": "prompt", "completions": "completion"}[link.to]
    evidence = [str(i) for i, _ in lost[:SHOWN]]
    found.extend(books.shown(link.table.file), f"names a {what} that is in no table ({link.column})", REMEDY.format(link.table.stage), evidence, sum(n for _, n in lost))  # fmt: skip


def _example_texts(db, books: Books, table: Table, found: Collector) -> None:
    """The prompt of an example is that prompt's text; its completion answers that prompt; its response is known.

    A response is the completion's text, the source's reference solution, or what a person wrote. Cold-start rows are made
    readable after sampling (paper 2.3.1): there the completion vouches for the row, not for every word of it.
    """
    where, remedy = books.shown(table.file), REMEDY.format(table.stage)
    prompts = [t for t in books.of("prompt") if t.stage.split("@")[0] not in COPIES]
    person = "starts_with(coalesce(e.origin, ''), 'annotation/')"
    as_sampled = "false" if table.stage == REFINED else "c.text IS DISTINCT FROM e.response"
    rules = {
        "its prompt is not the text of the prompt it names": "e.prompt IS DISTINCT FROM p.text",
        "its source or domain is not that of its prompt": f"NOT {person} AND (e.source, e.domain) IS DISTINCT FROM (p.source, p.domain)",
        "its completion answers another prompt": "c.id IS NOT NULL AND c.prompt_id IS DISTINCT FROM e.prompt_id",
        "its response is not the text of its completion": f"c.id IS NOT NULL AND {as_sampled}",
        "its response is not the reference solution of its prompt": f"e.completion_id IS NULL AND NOT {person} AND e.response IS DISTINCT FROM p.solution",
    }  # fmt: skip
    flags = ", ".join(f"({rule}) AS r{i}" for i, rule in enumerate(rules.values()))
    completions = books.of("completion")
    answers = f"(SELECT id, prompt_id, text FROM {read(completions)})" if completions else "(SELECT '' AS id, '' AS prompt_id, '' AS text WHERE false)"  # fmt: skip
    db.sql(
        f"CREATE OR REPLACE TEMP TABLE flagged AS SELECT e.id, {flags} FROM {read([table])} e "
        f"JOIN (SELECT id, text, source, domain, solution FROM {read(prompts)} UNION ALL SELECT id, text, NULL, NULL, NULL FROM reviewed "
        f"WHERE id NOT IN (SELECT id FROM bank)) p ON p.id = e.prompt_id LEFT JOIN {answers} c ON c.id = e.completion_id"
    )
    for i, problem in enumerate(rules):
        lost = [row for (row,) in db.sql(f"SELECT id FROM flagged WHERE r{i} ORDER BY id").fetchall()]
        found.extend(where, problem, remedy, lost[:SHOWN], len(lost))
    people = db.sql(f"SELECT e.id, e.origin, e.prompt, e.response FROM {read([table])} e WHERE {person}").fetchall()
    _annotated(books, where, people, found)


def _annotated(books: Books, where: str, rows: list, found: Collector) -> None:
    """Rows that a person accepted or edited, against the file of annotations."""
    path, annotated = books.annotations
    by_origin: dict[str, Annotation] = {f"annotation/{a.annotator}/{a.id}": a for a in annotated}
    for id, origin, prompt, response in rows:
        known = by_origin.get(origin)
        if known is None or (known.prompt, known.response) != (prompt, response):
            found.add(where, f"is no reviewed row of {path}, or not as it was reviewed", "import the annotations again: `r1 annotate import`", id)  # fmt: skip


def _preference_prompts(db, books: Books, table: Table, found: Collector) -> None:
    """A pair or label is on a prompt of the bank, or its prompt's id is that of a declared preference source."""
    where, remedy = books.shown(table.file), REMEDY.format(table.stage)
    prompts = [t for t in books.of("prompt") if t.stage.split("@")[0] not in COPIES]
    lost = db.sql(
        f"SELECT DISTINCT t.id FROM {read([table])} t JOIN (SELECT id, text FROM {read(prompts)}) p ON p.id = t.prompt_id "
        "WHERE t.prompt IS DISTINCT FROM p.text ORDER BY t.id"
    ).fetchall()
    found.extend(where, "its prompt is not the text of the prompt it names", remedy, [i for (i,) in lost[:SHOWN]], len(lost))  # fmt: skip
    unlined = 0
    for prompt_id, prompt, labelled_by, first, rows in _batches(
        db,
        f"SELECT t.prompt_id, t.prompt, t.labelled_by, min(t.id), count(*) FROM {read([table])} t "
        "LEFT JOIN bank b ON b.id = t.prompt_id WHERE b.id IS NULL GROUP BY ALL ORDER BY min(t.id)",
    ):
        if books.preference_source(prompt_id, prompt) is None:
            found.add(where, f"its prompt is in no table and of no preference source ({labelled_by})", remedy, first, rows)  # fmt: skip
        else:
            unlined += rows
    found.extend(where, "ends at its source's file, whose line is not recorded", "none yet: preference rows have no column for it", [], unlined, level="remark")  # fmt: skip


def _batches(db, query: str) -> Iterator[tuple]:
    """Rows of a query, never all of them in Python at once."""
    answer = db.execute(query)
    while rows := answer.fetchmany(BATCH):
        yield from rows


def _models(db, books: Books, table: Table, found: Collector) -> None:
    """A sampled completion names the weights of a checkpoint that its stage reads, an imported one a declared source."""
    where, stage = books.shown(table.file), books.stages.get(table.stage)
    reads = {sha for path, sha in books.weights.items() if stage and path in stage.inputs}
    for engine, model, settings, rows, first in db.sql(
        f"SELECT engine, model, CASE WHEN engine = 'imported' THEN json_extract_string(settings, '$.source') END, count(*), min(id) "
        f"FROM {read([table])} GROUP BY ALL ORDER BY ALL"
    ).fetchall():
        if engine == "imported":
            if settings not in books.sources:
                found.add(where, f"was imported from {settings!r}, which is no declared source", REMEDY.format(table.stage), first, rows)  # fmt: skip
        elif model not in reads:
            found.add(where, f"was sampled from weights {str(model)[:12]}…, which are of no checkpoint that its stage reads", REMEDY.format(table.stage), first, rows)  # fmt: skip


def _rejected_rows(db, books: Books, found: Collector) -> None:
    """Decisions on raw rows that became no prompt: the id is that of the source and origin in the evidence."""
    names = [*books.sources, *books.preference_sources]
    for table in books.of("decision"):
        query = f"SELECT row_id, evidence FROM {read([table])} WHERE starts_with(row_id, 'row_')"
        for id, evidence in _batches(db, query):
            if not any(id == row_id("row", source=n, origin=o) for n in names for o in _origins_in(evidence, n)):
                found.add(books.shown(table.file), "rejects a row that is of no declared source", REMEDY.format(table.stage), id)  # fmt: skip


def _origins_in(evidence: str | None, name: str) -> Iterable[str]:
    """What may be the origin in "<source> <origin>: why"; an origin may hold colons itself."""
    if (evidence or "").startswith(f"{name} "):
        rest = evidence[len(name) + 1 :]
        yield from (rest[:at] for at in range(len(rest)) if rest.startswith(": ", at))
