"""Which rows of which tables a fault touches: of a revoked source, of a prompt with a wrong gold, of a faulty verifier.

Rows are followed by their own ids, from table to table in the order in which the stages ran. Two kinds are told apart:
`direct`, rows that derive from what is at fault, and `through`, rows that a model trained on such rows has made.
Everything is counted in DuckDB over the Parquet files.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tasks.provenance.tables import Table
from tasks.rows import row_id

ORDER = ("prompt", "completion", "verdict", "sft_example", "preference_pair", "safety_label", "other", "decision")
MARKED = ("completion", "sft_example", "preference_pair", "safety_label")  # whose ids later tables refer to
EVIDENCE = ("prompts", "imported", "preferences")  # stages whose decisions begin with the name of the source


@dataclass(frozen=True)
class Fault:
    """What is at fault: a source of prompts, of imported outputs or of preferences, an annotator, a prompt, a verifier."""

    kind: Literal["source", "prompt", "verifier"]
    name: str
    oracle: bool = False  # the source is the procedural oracle of `preferences`


@dataclass
class Touched:
    """How many rows of one table are touched, and which."""

    table: Table
    direct: int
    through: int
    ids: list[str] = field(default_factory=list)  # of both, where asked for; in the order of the file
    sources: dict[str, int] = field(default_factory=dict)  # of a table of prompts: source -> prompts touched directly

    @property
    def any(self) -> bool:
        return bool(self.direct or self.through)


class Followed:
    """Rows followed through the tables, one after the other; ask them in the order in which the stages ran."""

    def __init__(self, fault: Fault, ids: bool = False):
        import duckdb

        self.fault, self._ids = fault, ids
        self._db = duckdb.connect()
        self._db.execute("SET TimeZone = 'UTC'")
        for name in ("prompts", "rows_direct", "rows_through", "models"):
            self._db.execute(f"CREATE TABLE {name} (id VARCHAR)")
        owns = lambda prompt, prompt_id: row_id("prompt", source=fault.name, text=prompt) == prompt_id
        self._db.create_function(
            "owns", owns, ["VARCHAR", "VARCHAR"], "BOOLEAN"
        )  # rows scored by a judge name no source

    def distrust(self, model: str) -> None:
        """From here on, completions of this model (sha256 of its weights) are touched `through` it."""
        self._db.execute("INSERT INTO models VALUES (?)", [model])

    def artifact(self, tables: Iterable[Table], screened: bool = False) -> list[Touched]:
        """Every table of one artifact; `screened`: the verifier at fault chose its examples, without a table of verdicts."""
        self._screened = screened
        return [self._follow(t) for t in sorted(tables, key=lambda t: (ORDER.index(t.kind), t.name))]

    def _follow(self, table: Table) -> Touched:
        direct, through = self._direct(table), self._through(table)
        if not table.rows or not (direct or through):
            return Touched(table, 0, 0)
        key = next((c for c in ("id", "row_id", "completion_id") if c in table.columns), "prompt_id")
        columns = {"id": key, "completion": "completion_id", "source": "source"}
        given = ", ".join(f"{_column(table, c)} AS {name}" for name, c in columns.items())
        found = f"""SELECT {given},
                coalesce({direct or "false"}, false) AS direct, coalesce({through or "false"}, false) AS through
            FROM read_parquet({_quoted(str(table.file))}) WHERE direct OR through"""
        if self._ids or self._marks(table):
            self._db.execute(f"CREATE OR REPLACE TEMP TABLE rows_found AS {found}")
            found = "FROM rows_found"
        self._db.execute(f"CREATE OR REPLACE TEMP VIEW found AS {found}")  # decisions are many, and only counted
        counts = self._db.execute("SELECT count(*) FILTER (direct), count(*) FILTER (NOT direct) FROM found").fetchone()
        ids = [r[0] for r in self._db.execute("SELECT id FROM found").fetchall()] if self._ids else []
        groups = {}
        if table.kind == "prompt":
            count = "SELECT source, count(*) FROM found WHERE direct GROUP BY ALL ORDER BY ALL"
            groups = dict(self._db.execute(count).fetchall())
        self._mark(table)
        return Touched(table, *counts, ids, groups)

    def _marks(self, table: Table) -> bool:
        """Whether rows of later tables refer to the rows of this one."""
        return table.kind in ("prompt", *MARKED) or (table.kind == "verdict" and self.fault.kind == "verifier")

    def _mark(self, table: Table) -> None:
        """Remember the ids that rows of later tables refer to."""
        if table.kind == "prompt":
            self._db.execute("INSERT INTO prompts SELECT id FROM found")
        elif self._marks(table):
            column = "completion" if table.kind == "verdict" else "id"
            self._db.execute(f"INSERT INTO rows_direct SELECT {column} FROM found WHERE direct")
            self._db.execute(f"INSERT INTO rows_through SELECT {column} FROM found WHERE NOT direct")

    def _direct(self, table: Table) -> str:
        """SQL condition for the rows that derive from what is at fault."""
        said = [self._named(table)]
        if "prompt_id" in table.columns and self.fault.kind != "verifier":
            said.append("prompt_id IN (FROM prompts)")
        return " OR ".join(filter(None, [*said, *self._by_rows(table, "rows_direct")]))

    def _named(self, table: Table) -> str:
        """SQL condition for the rows that name what is at fault themselves."""
        name = _quoted(self.fault.name)
        if self.fault.kind == "verifier":
            chosen = {"sft_example": "true", "decision": "rule = 'correct'"} if self._screened else {}
            return f"verifier = {name}" if table.kind == "verdict" else chosen.get(table.kind, "")
        if self.fault.kind == "prompt":
            return f"id = {name}" if table.kind == "prompt" else ""
        annotated = _quoted(f"annotation/{self.fault.name}/")
        oracle = " OR labelled_by = 'procedural-oracle'" if self.fault.oracle else ""
        labelled = f"labelled_by = {_quoted(f'dataset:{self.fault.name}')}{oracle}"
        return {
            "prompt": f"source = {name}",
            "sft_example": f"source = {name} OR starts_with(origin, {annotated})",
            "preference_pair": f"{labelled} OR (starts_with(labelled_by, 'judge:') AND owns(prompt, prompt_id))",
            "safety_label": labelled,
            "decision": f"stage IN {EVIDENCE} AND starts_with(evidence, {_quoted(self.fault.name + ' ')})",
        }.get(table.kind, "")

    def _through(self, table: Table) -> str:
        if table.kind == "completion":
            return "model IN (FROM models)"
        return " OR ".join(self._by_rows(table, "rows_through"))

    def _by_rows(self, table: Table, rows: str) -> list[str]:
        """Conditions on the ids of completions and examples that are already known to be touched."""
        found = []
        if "completion_id" in table.columns:
            found.append(f"completion_id IN (FROM {rows})")
        if table.kind == "decision":
            found.append(f"row_id IN (FROM {rows})")
            if rows == "rows_direct":
                found.append("row_id IN (FROM prompts)")
        elif table.kind == "other" and "id" in table.columns:
            found.append(f"id IN (FROM {rows})")
        return found


def _column(table: Table, name: str) -> str:
    return f'"{name}"' if name in table.columns else "NULL"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def values(tables: Iterable[Table], kind: str, column: str, **where: str) -> dict[str, int]:
    """Every value of a column in the tables of this kind, where other columns have these values: rows of each."""
    import duckdb

    files = [str(t.file) for t in tables if t.kind == kind and t.rows]
    if not files:
        return {}
    condition = " AND ".join([f'"{column}" IS NOT NULL', *(f"{c} = {_quoted(v)}" for c, v in where.items())])
    query = f"FROM read_parquet($files, union_by_name=true) WHERE {condition} GROUP BY ALL ORDER BY ALL"
    return dict(duckdb.execute(f'SELECT "{column}", count(*) {query}', {"files": files}).fetchall())


def holds(tables: Iterable[Table], prompt: str) -> list[Table]:
    """The tables of prompts that have a prompt of this id."""
    import duckdb

    asked = [t for t in tables if t.kind == "prompt" and t.rows]
    query = "SELECT count(*) FROM read_parquet($file) WHERE id = $id"
    return [t for t in asked if duckdb.execute(query, {"file": str(t.file), "id": prompt}).fetchone()[0]]
