"""The licences of every set and checkpoint: which sources, how many rows, and whether they go together.

A set's licences are those of the prompts its rows answer (or of the preference source). A checkpoint's are those of all
it was trained on, and of the checkpoints it comes from or whose outputs it learnt from.
"""

from collections import defaultdict

from tasks.provenance.audit.books import Books, Stage, connect, read
from tasks.provenance.audit.finding import Collector, Outcome
from tasks.provenance.audit.licences import known, together
from tasks.provenance.tables import Table

SETS = ("sft_example", "preference_pair", "safety_label", "completion")
CHOSEN = ("sources", "general_sources", "prompt_sources")  # keys by which a stage picks sources of the prompt bank
UNSTATED = "not stated"
PEOPLE = "annotations"  # what people of this repository reviewed
Used = dict[tuple[str, str], int]  # (source, licence) -> rows


def check(books: Books) -> Outcome:
    """Every source's licence is known, and those of each set and checkpoint allow at least one common release."""
    found, sets, rows = Collector(), [], 0
    with connect() as db:
        _lay_out(db, books)
        by_table = {t.file: _of_table(db, books, t) for t in books.of(*SETS)}
        bank = _of_bank(db, books)
    for table in (t for t in books.of(*SETS) if t.stage.split("@")[0] != "evaluate"):
        rows += table.rows
        sets.append({"set": books.shown(table.file), "kind": table.kind, "rows": table.rows} | _judged(books.shown(table.file), by_table[table.file], found))  # fmt: skip
    checkpoints = []
    for path in books.weights:
        stage = next(s for s in books.stages.values() if any(path == o or path.startswith(f"{o}/") for o in s.outs))
        used = _of_stage(books, stage, by_table, bank, {})
        checkpoints.append({"checkpoint": path, "stage": stage.stage} | _judged(path, used, found))
    return found.outcome(rows, "rows", sets=sets, checkpoints=checkpoints)


def _of_table(db, books: Books, table: Table) -> Used:
    """(source, licence) -> rows of one set. A row without a prompt in any table is of a preference source, or reviewed.

    Else nothing says under which licence it stands.
    """
    preferences = table.kind in ("preference_pair", "safety_label")
    reviewed = "t.prompt_id IN (SELECT id FROM reviewed)"
    if "origin" in table.columns:
        reviewed += " OR starts_with(coalesce(t.origin, ''), 'annotation/')"
    named = "preference_source(t.prompt_id, t.prompt)" if preferences else f"CASE WHEN {reviewed} THEN '{PEOPLE}' END"
    found: Used = defaultdict(int)
    for source, licence, other, count in db.sql(
        f"SELECT p.source, p.licence, CASE WHEN p.id IS NULL THEN {named} END, count(*) FROM {read([table])} t LEFT JOIN "
        f"(SELECT DISTINCT id, source, licence FROM {read(books.of('prompt'))}) p ON p.id = t.prompt_id GROUP BY ALL ORDER BY ALL"
    ).fetchall():
        if source is None and other:
            source, licence = other, books.preference_sources[other].get("licence") if preferences else "repository"
        found[source or "rows whose prompt is in no table", licence or UNSTATED] += count
    return dict(found)


def _lay_out(db, books: Books) -> None:
    """Beside the tables: ids of reviewed prompts, and whose a preference row is."""
    import pyarrow as pa

    db.register("reviewed", pa.table({"id": pa.array([a.prompt_id for a in books.annotations[1]], pa.string())}))
    named = lambda prompt_id, prompt: books.preference_source(prompt_id, prompt) or ""
    db.create_function("preference_source", named, ["VARCHAR", "VARCHAR"], "VARCHAR")


def _of_bank(db, books: Books) -> Used:
    train = books.made_by("prompts", "train")
    if train is None:
        return {}
    query = f"SELECT source, licence, count(*) FROM {read([train])} GROUP BY ALL ORDER BY ALL"
    return {(source, licence or UNSTATED): rows for source, licence, rows in db.sql(query).fetchall()}


def _of_stage(books: Books, stage: Stage, by_table: dict, bank: Used, seen: dict[str, Used]) -> Used:
    """Everything that went into the outputs of a stage, whichever way; `seen` holds what is already worked out."""
    if stage.stage in seen:
        return seen[stage.stage]
    used: Used = dict(_of_model(stage))
    tables = [t for t in books.of(*SETS) if t.stage == stage.stage]
    for table in tables:
        used |= by_table[table.file]
    for path in stage.inputs:
        maker = next((s for s in books.stages.values() if path in s.outs), None)
        if maker is None:
            continue
        if maker.name != "prompts":
            used |= _of_stage(books, maker, by_table, bank, seen)
        elif not tables:  # a set's rows say themselves what they answer
            names = [n for key in CHOSEN for n in stage.section.get(key) or ()]
            used |= {key: rows for key, rows in bank.items() if key[0] in names}
    seen[stage.stage] = used
    return used


def _of_model(stage: Stage) -> Used:
    """A base that somebody else trained is a source of its own, under the licence that the recipe states, if it does."""
    if stage.name == "judge":
        return {("procedural judgements", "generated"): stage.section.get("pairs", 0)}
    for value in stage.params.values():
        entry = (value.get("model") or value) if isinstance(value, dict) else {}
        name = entry.get("hub") or entry.get("path") if stage.name in ("base", "student_base") else None
        if name:
            return {(f"model {name}", entry.get("licence") or UNSTATED): 1}
        if "pretrain" in entry:
            return {("procedural corpus", "generated"): 0}
    return {}


def _judged(where: str, used: Used, found: Collector) -> dict:
    """What goes into one set or checkpoint as JSON; findings where licences are unknown or do not go together."""
    licences = [licence for _, licence in used]
    result = together(licences)
    for name in result.unknown:
        who = ", ".join(source for source, licence in used if licence == name)
        found.add(where, f"licence {name!r} of {who} is none that is known", "state it by its SPDX name in params.yaml, or add its terms to tasks/provenance/audit/licences.py")  # fmt: skip
    for a, b in result.clashing:
        who = sorted({source for source, licence in used if licence in (a, b)})
        problem = f"{a} and {b} allow no common release" if a != b else f"{a} allows no shared adaptation"
        found.add(where, problem, "leave one of the sources out: `r1 revoke SOURCE`, or params.yaml", ", ".join(who))
    if not result.releases and not result.clashing:
        found.add(where, "its licences allow no common release together, though each two do", "leave one of the sources out", ", ".join(sorted(set(licences))))  # fmt: skip
    rows = [
        {"source": source, "licence": licence, "rows": n, "asks": (known(licence).asks if known(licence) else "unknown")}
        for (source, licence), n in sorted(used.items())
    ]  # fmt: skip
    return {"sources": rows, "releases": list(result.releases), "together": not (result.unknown or result.clashing) and bool(result.releases)}  # fmt: skip
