"""Looking into any set: its rows a page at a time, sought and filtered, with the reasons beside each row.

Filters and searches are DuckDB's, over the one Parquet file; they give row numbers, which are kept, so that a further
page costs nothing but reading its rows and their reasons.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from tasks.provenance.artifacts import ArtifactError
from tasks.provenance.audit.books import Books, connect, read, unreadable
from tasks.provenance.audit.reasons import Reasons
from tasks.provenance.rows_at import Files
from tasks.provenance.tables import Table

ANY_VALUE = 40  # a column with more different values than this is searched, not filtered
TEXT = 4000  # characters of one text that a page of the browser carries
KEPT, KEPT_BYTES = 32, 96_000_000  # answers whose row numbers are kept, and how much of them
SHOWN = {  # kind -> (columns of the list, columns to filter by, columns to search in)
    "prompt": (("text", "gold", "source", "domain"), ("source", "domain", "split", "licence"), ("text", "gold", "solution")),
    "completion": (("text", "tokens", "finish"), ("finish", "engine"), ("text",)),
    "sft_example": (("prompt", "response", "source", "domain"), ("source", "domain"), ("prompt", "response")),
    "preference_pair": (("prompt", "chosen", "rejected", "fault"), ("fault", "split", "labelled_by"), ("prompt", "chosen", "rejected")),
    "safety_label": (("prompt", "response", "safe"), ("safe", "split", "labelled_by"), ("prompt", "response")),
}  # fmt: skip


class NoSuchSet(Exception):
    """A set, filter or page that there is not; the message says which there are."""


class Browser:
    """The sets of the books."""

    def __init__(self, books: Books):
        self.books, self.reasons = books, Reasons(books)
        self.tables = {self.name(t): t for t in books.of(*SHOWN)}
        self.files, self.lock = Files(), threading.Lock()
        self.db = connect()
        self.numbers: OrderedDict[tuple, object] = OrderedDict()  # (set, query, filters) -> row numbers, the last ones
        self.damaged: dict[str, str] = {}  # set -> what could not be read of it, or beside it

    def name(self, table: Table) -> str:
        """11_reasoning/examples of data/11_reasoning/examples.parquet."""
        return self.books.shown(table.file).removeprefix("data/").removesuffix(".parquet")

    def sets(self) -> list[dict]:
        """Every set: name, kind, stage, rows, damage, and the columns it can be filtered by with their values."""
        return [self.described(name) for name in self.tables]

    def described(self, name: str) -> dict:
        table = self.table(name)
        filters = self._tried(name, lambda: self._filters(table), {})
        return {
            "name": name, "kind": table.kind, "stage": table.stage, "rows": table.rows, "columns": list(SHOWN[table.kind][0]),
            "filters": filters, "damage": self.damaged.get(name),
        }  # fmt: skip

    def _tried(self, name: str, work: Callable, otherwise):
        """What `work` gives; `otherwise` where it meets a damaged table, which is remembered."""
        try:
            return work()
        except (ArtifactError, *unreadable()) as error:
            self.damaged[name] = str(error).strip().splitlines()[0]
            return otherwise

    def table(self, name: str) -> Table:
        if name not in self.tables:
            raise NoSuchSet(f"no set is called {name!r}; there are {', '.join(self.tables)}")
        return self.tables[name]

    def page(self, name: str, query: str = "", filters: dict[str, str] | None = None, offset: int = 0, limit: int = 25) -> dict:  # fmt: skip
        """`total` rows that match, and those from `offset` on, each with its reasons."""
        table, wanted = self.table(name), tuple(sorted((filters or {}).items()))
        with self.lock:
            if query or wanted:
                found = self._kept(name, query, wanted)
                total, numbers = len(found), [int(n) for n in found[offset : offset + limit]]
            else:
                total, numbers = table.rows, list(range(offset, min(offset + limit, table.rows)))
            rows = self._rows(table, numbers)
        return {"total": total, "rows": self._with_reasons(rows)}

    def samples(self, rows: int) -> dict[str, list[dict]]:
        """This many rows of every set, evenly spaced from the first one on; all their reasons in one go."""
        places = {n: sorted({i * t.rows // rows for i in range(min(rows, t.rows))}) for n, t in self.tables.items()}
        with self.lock:
            drawn = [
                (name, *row)
                for name, numbers in places.items()
                for row in self._tried(name, lambda t=self.tables[name], n=numbers: self._rows(t, n), [])
            ]
        shown = self._with_reasons([(table, number, row) for _, table, number, row in drawn])
        return {name: [row for (n, *_), row in zip(drawn, shown, strict=True) if n == name] for name in self.tables}

    def _rows(self, table: Table, numbers: list[int]) -> list[tuple[Table, int, dict]]:
        rows = self.files.rows(Path(table.file), numbers) if numbers else []
        return [(table, number, row) for number, row in zip(numbers, rows, strict=True)]

    def _with_reasons(self, rows: list[tuple[Table, int, dict]]) -> list[dict]:
        known = self.reasons.of([(table.kind, row) for table, _, row in rows])
        return [
            {"row": number, "id": row["id"], "texts": {k: _short(v) for k, v in row.items() if k != "id"}} | found
            for (table, number, row), found in zip(rows, known, strict=True)
        ]

    def _beside(self, table: Table) -> dict[str, tuple[list[Table], str, str]]:
        """What completions can be filtered by beyond their columns: name -> (tables, column of the id, SQL of the value)."""
        if table.kind != "completion":
            return {}
        artifact = self.books.shown(table.artifact)
        near = [t for t in self.books.tables if t.stage == table.stage or artifact in self.books.stages[t.stage].inputs]
        verdicts = [t for t in near if t.kind == "verdict" and t.name.startswith("forced") == table.name.startswith("forced")]  # fmt: skip
        outcomes = [t for t in near if {"id", "kept", "rule"} <= t.columns.keys()]
        found = {
            "verdict": (verdicts, "completion_id", "status"),
            "outcome": (outcomes, "id", "CASE WHEN kept THEN 'kept' ELSE rule END"),
        }
        return {name: entry for name, entry in found.items() if entry[0]}

    def _filters(self, table: Table) -> dict[str, list[str]]:
        """Column, or what stands beside it, -> its values, where they are few."""
        made = {}
        for name, (tables, _, value) in self._beside(table).items():
            made[name] = sorted(
                v for (v,) in self.db.sql(f"SELECT DISTINCT {value} FROM {read(tables)}").fetchall() if v
            )
        for column in SHOWN[table.kind][1]:
            query = f"SELECT DISTINCT CAST({column} AS VARCHAR) FROM read_parquet(?) LIMIT {ANY_VALUE + 1}"
            values = sorted(v for (v,) in self.db.execute(query, [str(table.file)]).fetchall() if v is not None)
            if 1 < len(values) <= ANY_VALUE:
                made[column] = values
        return made

    def _kept(self, *asked):
        """Row numbers as of `_numbers`, kept for the further pages."""
        if asked not in self.numbers:
            self.numbers[asked] = self._numbers(*asked)
        self.numbers.move_to_end(asked)
        while len(self.numbers) > 1 and (len(self.numbers) > KEPT or sum(n.nbytes for n in self.numbers.values()) > KEPT_BYTES):  # fmt: skip
            self.numbers.popitem(last=False)
        return self.numbers[asked]

    def _numbers(self, name: str, query: str, filters: tuple[tuple[str, str], ...]):
        """Row numbers, ascending, of the rows that match, as an array."""
        table = self.table(name)
        where, values = ["true"], [str(table.file)]
        beside = self._beside(table)
        for column, value in filters:
            if column in beside:
                tables, key, found = beside[column]
                where.append(f"id IN (SELECT {key} FROM {read(tables)} WHERE {found} = ?)")
                values.append(value)
                continue
            if column not in SHOWN[table.kind][1]:
                raise NoSuchSet(
                    f"{name} cannot be filtered by {column!r}; by {', '.join([*SHOWN[table.kind][1], *beside])}"
                )
            where.append(f"CAST({column} AS VARCHAR) = ?")
            values.append(value)
        if query:
            ids = [c for c in ("id", "prompt_id", "completion_id") if c in table.columns]
            by_id = "_" in query and any(query.startswith(k) for k in ("prompt_", "completion_", "example_", "pair_", "label_"))  # fmt: skip
            columns = ids if by_id else SHOWN[table.kind][2]
            test = "starts_with({}, ?)" if by_id else "contains(lower({}), lower(?))"
            where.append("(" + " OR ".join(test.format(c) for c in columns) + ")")
            values += [query] * len(columns)
        sql = (
            f"SELECT file_row_number FROM read_parquet(?, file_row_number=true) WHERE {' AND '.join(where)} ORDER BY 1"
        )
        return self.db.execute(sql, values).fetchnumpy()["file_row_number"]


def _short(value):
    return value[:TEXT] + f" … {len(value) - TEXT:,} characters more" if isinstance(value, str) and len(value) > TEXT else value  # fmt: skip
