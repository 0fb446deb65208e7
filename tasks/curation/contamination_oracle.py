"""Overlaps by plain SQL (contamination_oracle.sql): the reference that decontamination is tested against."""

from pathlib import Path

import pyarrow as pa


def oracle(
    a: pa.Array, b: pa.Array, n: int, max_document_frequency: int | None, threads: int = 1
) -> tuple[list[tuple[int, int, int, float]], list[tuple[int, int]]]:
    """([(row, item, shared n-grams, coverage)], [(row, item) of equal texts]), each in order; no text may be null."""
    import duckdb

    tables = {
        "a": pa.table({"row": pa.array(range(len(a)), pa.int64()), "text": a}),
        "b": pa.table({"item": pa.array(range(len(b)), pa.int64()), "text": b}),
    }
    given = {"n": n, "max_document_frequency": max_document_frequency}
    with duckdb.connect(":memory:", config={"threads": threads}) as con:
        for name, table in tables.items():
            con.register(name, table)
        for statement in duckdb.extract_statements(Path(__file__).with_suffix(".sql").read_text()):
            con.execute(statement, {name: given[name] for name in statement.named_parameters})
        return (
            con.execute("SELECT * FROM shared_grams ORDER BY row, item").fetchall(),
            con.execute("SELECT * FROM equal_texts ORDER BY row, item").fetchall(),
        )
