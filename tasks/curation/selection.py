"""Selection: which of the candidates that pass every other step are taken (paper 2.3.3, and the survey's recipes).

A policy (selection_policy.py) is a list of rules applied in order: the verdict, bands of numbers, bins, caps. Every
rule is decided for every row, and only rows that pass everything before it take a place under a cap. The rules
themselves are the files selection*.sql, one each. Columns that a policy names are reached through two lists per row,
so that no name and no value ever becomes part of a statement.
"""

from collections.abc import Callable, Iterator

from tasks.curation.selection_policy import Band, Bin, Cap, Selection
from tasks.curation.statements import run_sql

DERIVED = ("samples", "pass_rate")  # appended to the numbers by selection.sql; a column of that name goes before
NUMBERS = ("BOOLEAN", "FLOAT", "DOUBLE", "DECIMAL") + tuple(
    sign + size for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
)
ROWS_AT_ONCE = 500_000
TESTS = {"at_least": "at least", "above": "above", "at_most": "at most", "below": "below"}


def select(con, selection: Selection, seed: int, progress: Callable[[int, int], None] | None = None) -> None:
    """Creates `selection(row, decisions)`: every active rule, in order, for every row of `measured`.

    con: a DuckDB connection with `measured` (row, id, prompt_id, verdict, and the columns the policy names) and
    `passing(row, passes)`. ValueError where a policy names a column that the candidates do not have.
    """
    named = _Columns(con, selection)
    named.relation().create_view("selection_named", replace=True)
    run_sql(con, "selection", seed=seed)
    steps = list(_steps(selection, named))
    for done, (files, rule, parameters) in enumerate(steps):
        if progress:
            progress(done, len(steps))
        for name in files:
            run_sql(con, name, **parameters)
        run_sql(con, "selection_decide", rule=rule)
        con.execute(f"ALTER TABLE decision RENAME TO decision_{done}")
    tables = [f"decision_{i}" for i in range(len(steps))]
    _gather(con, tables)
    _check(con, len(steps))
    if progress:
        progress(len(steps), len(steps))
    for table in (*tables, "standing", "selectable", "graded", "judged", "places", "classes", "limits"):
        con.execute(f"DROP TABLE IF EXISTS {table}")
    con.execute("DROP VIEW selection_named")


def rules(selection: Selection) -> list[str]:
    """Names of the active rules, in the order in which they are applied."""
    return [rule for _, rule, _ in _steps(selection, None)]


class _Columns:
    """Where the columns that a policy names are found in `numbers` and `labels`, 1-based as SQL counts."""

    def __init__(self, con, selection: Selection):
        self.measured = con.table("measured")
        types = dict(zip(self.measured.columns, map(str, self.measured.types)))
        caps = selection.all_caps
        wanted = [b.column for _, b in selection.all_bands] + [b.column for b in selection.bins]
        wanted += [key.removeprefix("-") for cap in caps for key in cap.order]
        bins = [b.name for b in selection.bins]
        self.numbers = list(dict.fromkeys(c for c in wanted if c in types or c not in DERIVED))
        self.labels = list(dict.fromkeys(c.by for c in caps if c.by is not None and c.by not in bins))
        for column in (*self.numbers, *self.labels):
            if column not in types:
                has = ", ".join(sorted((*types, *DERIVED)))
                raise ValueError(f"the policy names {column!r}, which the candidates lack: add it, or use one of {has}")
        for column in self.numbers:
            if types[column].partition("(")[0] not in NUMBERS:
                raise ValueError(f"the policy needs {column!r} as a number, but it is {types[column]}: convert it")
        derived = {name: len(self.numbers) + i for i, name in enumerate(DERIVED, start=1)}
        self.places = derived | {name: i for i, name in enumerate(self.numbers, start=1)}
        self.groups = {name: i for i, name in enumerate((*self.labels, *bins), start=1)}

    def relation(self):
        from duckdb import ColumnExpression, FunctionExpression
        from duckdb.sqltypes import DOUBLE, VARCHAR

        def gathered(columns, kind, name):
            cells = [ColumnExpression(c).cast(kind) for c in columns]
            return FunctionExpression("list_value", *cells).alias(name)

        numbers, labels = gathered(self.numbers, DOUBLE, "numbers"), gathered(self.labels, VARCHAR, "labels")
        return self.measured.select(ColumnExpression("row"), numbers, labels)


def _steps(selection: Selection, named: _Columns | None) -> Iterator[tuple[tuple[str, ...], str, dict]]:
    """(SQL files, rule, parameters) of each rule; without `named` the parameters hold no places of columns."""
    if selection.verdict is not None:
        yield ("selection_verdict",), "verdict", {"accepted": list(selection.verdict)}
    for rule, band in selection.all_bands:
        yield from _band(rule, band, named)
    for bin in selection.bins:
        yield ("selection_bin",), bin.name, _bin(bin, named)
    for cap in selection.all_caps:
        yield _cap(cap, named)


def _band(rule: str, band: Band, named: _Columns | None) -> Iterator[tuple[tuple[str, ...], str, dict]]:
    for test, words in TESTS.items():
        bound = getattr(band, test)
        if bound is not None:
            side = "min" if test in ("at_least", "above") else "max"
            yield ("selection_band",), rule or f"{side}_{band.column}", {
                "column": named and named.places[band.column], "test": test, "bound": bound,
                "wanted": f"{words} {bound:g} wanted", "missing": f"no {band.column}",
            }  # fmt: skip


def _bin(bin: Bin, named: _Columns | None) -> dict:
    fractions = [i / bin.classes for i in range(1, bin.classes)]
    names = list(bin.labels) or [str(i + 1) for i in range(bin.classes)]
    return {"column": named and named.places[bin.column], "edges": list(bin.edges), "fractions": fractions,
            "names": names, "missing": f"no {bin.column}"}  # fmt: skip


def _cap(cap: Cap, named: _Columns | None) -> tuple[tuple[str, ...], str, dict]:
    parameters = {"group": named and named.groups.get(cap.by), "total": cap.total, "tell": cap.by != "prompt_id"}
    for i in range(3):
        key = cap.order[i] if i < len(cap.order) else ""
        parameters[f"sign{i + 1}"] = -1.0 if key.startswith("-") else 1.0
        parameters[f"key{i + 1}"] = named.places[key.removeprefix("-")] if named and key else None
    amounts = cap.shares or (cap.each if isinstance(cap.each, dict) else {"*": cap.each or cap.total})
    parameters |= {"names": list(amounts), "amounts": [float(a) for a in amounts.values()]}
    kind = "shares" if cap.shares else "total" if cap.total and cap.by else "each"
    return ("selection_places", f"selection_{kind}"), cap.rule, parameters


def _gather(con, tables: list[str]) -> None:
    """The decisions of each row side by side, a range of rows at a time, so that memory does not grow with the rows."""
    from duckdb import ColumnExpression, FunctionExpression

    row = ColumnExpression("row")
    last = con.execute("SELECT coalesce(max(row), -1) FROM measured").fetchall()[0][0]
    for start in range(0, last + 1, ROWS_AT_ONCE):
        wanted = (row >= start) & (row < start + ROWS_AT_ONCE)
        rows = con.table("measured").filter(wanted).select(row)
        for table in tables:
            decisions = con.table(table).filter(wanted).select(row, ColumnExpression("decision").alias(table))
            rows = rows.join(decisions, "row")
        rows.select(row, FunctionExpression("list_value", *map(ColumnExpression, tables))).insert_into("selection")


def _check(con, count: int) -> None:
    ((rows, fewest, most, candidates),) = con.execute(
        "SELECT count(*), min(len(decisions)), max(len(decisions)), (SELECT count(*) FROM measured) FROM selection"
    ).fetchall()
    if rows != candidates or (rows and (fewest, most) != (count, count)):
        raise AssertionError(f"{candidates} candidates, {rows} with {fewest} to {most} decisions of {count} rules")
