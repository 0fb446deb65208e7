"""Counts: every row that enters a stage leaves it, kept or rejected, and the metrics say the same as the tables.

One function for each stage that takes rows in and lets rows out. Each yields equations, two numbers that must agree;
a stage that the graph has not, or that is not built, yields none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from tasks.prompts.revoked import RULE
from tasks.provenance.audit.books import Books, connect, read
from tasks.provenance.audit.finding import Collector, Outcome
from tasks.provenance.tables import Table

REMEDY = "rebuild it: `r1 run {}`; if it stays, the stage loses rows without saying so"
OF_ROWS = f"rule <> '{RULE}'"  # decisions on rows that were read, and none on a source that was revoked as a whole


@dataclass(frozen=True)
class Equation:
    """`left` and `right` are counts that must be equal; `says` is what they count."""

    stage: str
    says: str
    left: int | None
    right: int | None


def check(books: Books) -> Outcome:
    """All equations of all stages; `facts.flow` are the rows in, kept and rejected of each, for people."""
    found, equations = Collector(), []
    with connect() as db:
        counts = Counts(books, db)
        for name, function in STAGES.items():
            for stage in (s for s in books.stages.values() if s.name == name and books.metrics(s.stage)):
                try:
                    equations += [Equation(stage.stage, *e) for e in function(counts, stage.stage)]
                except (AttributeError, KeyError, TypeError) as error:
                    found.add(
                        stage.stage,
                        "its metrics or tables lack what is counted",
                        REMEDY.format(stage.stage),
                        repr(error),
                    )
    for e in equations:
        if e.left != e.right:
            found.add(e.stage, e.says, REMEDY.format(e.stage), f"{_said(e.left)} against {_said(e.right)}")
    facts = [{"stage": e.stage, "says": e.says, "left": e.left, "right": e.right} for e in equations]
    return found.outcome(len(equations), "equations", equations=facts, flow=counts.flow)


def _said(count: int | None) -> str:
    return "nothing" if count is None else f"{count:,}"


class Counts:
    """Numbers of rows, asked of the tables of a stage; None where the stage has no such table."""

    def __init__(self, books: Books, db):
        self.books, self.db, self.flow = books, db, []

    def table(self, stage: str, name: str) -> Table | None:
        return self.books.made_by(stage, name)

    def rows(self, stage: str, name: str, where: str = "true", of: str = "*") -> int | None:
        """count(`of`) of the rows of a table; counted, not believed from the manifest."""
        if (table := self.table(stage, name)) is None:
            return None
        return self.db.sql(f"SELECT count({of}) FROM {read([table])} WHERE {where}").fetchall()[0][0]

    def by(self, stage: str, name: str, *columns: str, where: str = "true") -> dict:
        """Rows by the values of columns."""
        if (table := self.table(stage, name)) is None:
            return {}
        names = ", ".join(columns)
        found = self.db.sql(f"SELECT {names}, count(*) FROM {read([table])} WHERE {where} GROUP BY ALL").fetchall()
        return {(key[0] if len(columns) == 1 else tuple(key)): n for *key, n in found}

    def one(self, query: str):
        return self.db.sql(query).fetchall()[0][0]

    def flowed(self, stage: str, into: str, rows_in: int | None, kept: int | None, rejected: int | None) -> None:
        self.flow.append({"stage": stage, "of": into, "in": rows_in, "kept": kept, "rejected": rejected})

    @cached_property
    def train(self) -> dict:
        return self.by("prompts", "train", "source")


def _prompts(c: Counts, stage: str) -> Iterator[tuple]:
    m = c.books.metrics(stage)
    splits = {split: c.by(stage, split, "source") for split in ("train", "validation", "final")}
    rejected = {}
    for (rule, evidence), n in c.by(stage, "decisions", "rule", "evidence").items():
        name = next((s for s in m["sources"] if evidence.startswith(f"{s} ")), None)
        rejected[name, rule] = rejected.get((name, rule), 0) + n
    for name, source in m["sources"].items():
        dropped = sum(n for (s, _), n in rejected.items() if s == name)
        kept = sum(rows.get(name, 0) for rows in splits.values())
        c.flowed(stage, name, source["rows"], kept, dropped)
        yield f"{name}: rows read = prompts + rejected", source["rows"], kept + dropped
        for split, rows in splits.items():
            yield f"{name}: prompts of the {split} split", source[split], rows.get(name, 0)
        for rule, n in source["dropped"].items():
            yield f"{name}: rejected by {rule}", n, rejected.get((name, rule), 0)
    yield "prompts in all", m["rows"], sum(sum(rows.values()) for rows in splits.values())
    for split, rows in splits.items():
        yield (
            f"rows of {split}.parquet are of that split",
            c.rows(stage, split, f"split = '{split}'"),
            sum(rows.values()),
        )
    yield "published evaluation problems", m["evaluation_problems"], c.rows(stage, "benchmarks/items")


def _cold_start(c: Counts, stage: str) -> Iterator[tuple]:
    m = c.books.metrics(stage)
    routes = m["routes"]
    sampled = sum(r["asked"] for name, r in routes.items() if name != "human")
    yield "sampled responses = responses asked for", c.rows(stage, "candidates"), sampled
    yield "rows decided on = responses of all routes", c.rows(stage, "decisions", OF_ROWS, of="DISTINCT row_id"), sum(r["asked"] for r in routes.values())  # fmt: skip
    kept = c.by(stage, "examples", "origin")
    for name, r in routes.items():
        mine = sum(n for origin, n in kept.items() if origin.startswith("annotation/" if name == "human" else f"cold_start/{name}"))  # fmt: skip
        c.flowed(stage, name, r["asked"], mine, sum(r["rejected"].values()))
        yield f"{name}: asked = kept + rejected", r["asked"], mine + sum(r["rejected"].values())
    yield "examples in all", m["rows"], c.rows(stage, "examples")
    decided = c.one(f"SELECT count(*) FROM (SELECT row_id FROM {read([c.table(stage, 'decisions')])} GROUP BY row_id HAVING bool_and(keep))")  # fmt: skip
    yield "rows that passed every rule = examples", decided, c.rows(stage, "examples")


def _candidates(c: Counts, stage: str) -> Iterator[tuple]:
    m = c.books.metrics(stage)
    section = c.books.stages[stage].section
    yield "candidates", m["candidates"], c.rows(stage, "candidates")
    yield "prompts that were answered", m["prompts"], c.rows(stage, "candidates", of="DISTINCT prompt_id")
    sampled = c.by(stage, "candidates", "prompt_id", where="engine <> 'imported'")
    yield (
        "prompts with k samples = prompts sampled",
        sum(n == section["samples"] for n in sampled.values()),
        len(sampled),
    )
    imported = m.get("imported") or {}
    rejected = sum(i["rejected"] for i in imported.values())
    yield "imported outputs that were rejected", rejected, c.rows(stage, "decisions", OF_ROWS)
    yield "imported prompts", sum(i["prompts"] for i in imported.values()), c.rows(stage, "prompts")
    c.flowed(stage, "sampled and imported", m["candidates"] + rejected, m["candidates"], rejected)


def _verdicts(c: Counts, stage: str) -> Iterator[tuple]:
    m, rows = c.books.metrics(stage), c.rows(stage, "verdicts")
    yield "candidates", m["candidates"], c.rows("candidates", "candidates")
    yield "candidates = verdicts + without verdict", m["candidates"], rows + m["without_verdict"]
    yield "candidates with a verdict, each once", c.rows(stage, "verdicts", of="DISTINCT completion_id"), rows
    status = c.by(stage, "verdicts", "status")
    for name, n in m["status"].items():
        yield f"verdicts: {name}", n, status.get(name, 0)
    yield "judged candidates", m["judge_candidates"], c.rows(stage, "agreement")
    c.flowed(stage, "verdict ok", m["candidates"], status.get("ok", 0), m["candidates"] - status.get("ok", 0))


def _reasoning(c: Counts, stage: str) -> Iterator[tuple]:
    m, outcomes = c.books.metrics(stage), c.rows(stage, "outcomes")
    kept, examples = c.rows(stage, "outcomes", "kept"), c.rows(stage, "examples")
    c.flowed(stage, "candidates", outcomes, kept, outcomes - kept)
    yield "candidates of the stage before = outcomes", c.rows("candidates", "candidates"), outcomes
    yield "candidates = kept + rejected", m["candidates"], m["kept"] + m["rejected"]
    yield "outcomes that are kept", m["kept"], kept
    yield "outcomes that are kept = examples", kept, examples
    yield "examples that answer a kept outcome", c.one(
        f"SELECT count(*) FROM {read([c.table(stage, 'examples')])} e JOIN {read([c.table(stage, 'outcomes')])} o ON o.id = e.completion_id WHERE o.kept"
    ), examples  # fmt: skip
    first = c.by(stage, "outcomes", "rule", where="NOT kept")
    failed = c.by(stage, "decisions", "rule", where="NOT keep")
    for rule in m["funnel"]:
        yield f"rejected first by {rule['rule']}", rule["rejected"], first.pop(rule["rule"], 0)
        yield f"rows that fail {rule['rule']}", rule["failed"], failed.get(rule["rule"], 0)
    yield "rejected by no rule of the funnel", sum(first.values()), 0
    yield "kept rows that fail no rule", c.one(
        f"SELECT count(*) FROM {read([c.table(stage, 'outcomes')])} WHERE kept AND id NOT IN (SELECT row_id FROM {read([c.table(stage, 'decisions')])} WHERE NOT keep)"
    ), kept  # fmt: skip
    yield "rows decided on", c.rows(stage, "decisions", of="DISTINCT row_id"), outcomes


def _non_reasoning(c: Counts, stage: str) -> Iterator[tuple]:
    m, wanted = c.books.metrics(stage), c.books.stages[stage].section["sources"]
    decisions = c.table(stage, "decisions")
    yield "training prompts of its sources = prompts decided on", sum(c.train.get(s, 0) for s in wanted), c.rows(stage, "decisions")  # fmt: skip
    yield "examples", m["rows"], c.rows(stage, "examples")
    uses = c.one(f"SELECT coalesce(sum(value), 0)::BIGINT FROM {read([decisions])} WHERE keep")
    yield "uses of all drawn prompts = examples", uses, c.rows(stage, "examples")
    drawn = c.rows(stage, "decisions", "keep")
    yield "prompts drawn", m["prompts_used"], drawn
    c.flowed(stage, "prompts", m["prompts"], drawn, m["prompts"] - drawn)


def _sft_data(c: Counts, stage: str) -> Iterator[tuple]:
    m = c.books.metrics(stage)
    into = [c.rows(part, "examples") or 0 for part in ("reasoning", "non_reasoning")]
    decided, kept = c.rows(stage, "decisions"), c.rows(stage, "decisions", "keep")
    c.flowed(stage, "examples", sum(into), kept, decided - kept)
    yield "reasoning + non-reasoning = rows decided on", sum(into), decided
    yield "rows kept = examples", kept, c.rows(stage, "examples")
    yield "examples", m["rows"], c.rows(stage, "examples")
    yield "left out", m["left_out"], decided - kept
    yield "rows of all domains", m["rows"], sum(d["rows"] for d in m["domains"].values())
    yield "reasoning rows", m["reasoning"], c.rows(stage, "examples", "completion_id IS NOT NULL")


def _preferences(c: Counts, stage: str) -> Iterator[tuple]:
    m = c.books.metrics(stage)
    yield "pairs", m["pairs"], c.rows(stage, "pairs")
    yield "labels", m["labels"], c.rows(stage, "labels")
    yield "unsafe labels", m["unsafe"], c.rows(stage, "labels", "NOT safe")
    for kind, n in m["held_out"].items():
        yield f"{kind} held out", n, c.rows(stage, kind, "split = 'held_out'")
    dropped = sum(n for s in m["sources"].values() for n in s["dropped"].values())
    yield "rejected rows of all sources", dropped, c.rows(stage, "decisions", OF_ROWS)
    made = (m["pairs"] or 0) + (m["labels"] or 0)
    c.flowed(stage, "pairs and labels", made + dropped, made, dropped)


def _evaluate(c: Counts, stage: str) -> Iterator[tuple]:
    protocol = c.books.metrics(stage).get("protocol") or {}
    expected = protocol.get("problems", 0) * protocol.get("k", 0)
    yield "samples = problems × k", expected, c.rows(stage, "samples")
    for kind in ("", "forced_"):
        yield f"{kind}verdicts = {kind}samples", c.rows(stage, f"{kind}verdicts", of="DISTINCT completion_id"), c.rows(stage, f"{kind}samples")  # fmt: skip
    yield "problems", protocol.get("problems"), c.rows(stage, "problems")


def _trained(source: str) -> Callable[[Counts, str], Iterator[tuple]]:
    """A checkpoint that learns from the examples of `source`: all of them, those too long or unsolved counted."""

    def equations(c: Counts, stage: str) -> Iterator[tuple]:
        m = c.books.metrics(stage)
        rows = c.rows(source, "examples")
        yield f"examples learnt from + left out = rows of {source}", m["examples"] + m["left_out"] + m.get("without_solution", 0), rows  # fmt: skip

    return equations


STAGES = {
    "prompts": _prompts,
    "cold_start": _cold_start,
    "candidates": _candidates,
    "verdicts": _verdicts,
    "reasoning": _reasoning,
    "non_reasoning": _non_reasoning,
    "sft_data": _sft_data,
    "preferences": _preferences,
    "evaluate": _evaluate,
    "dev1": _trained("cold_start"),
    "dev3": _trained("sft_data"),
    "distill": _trained("sft_data"),
}
