"""The SQL files of this folder, run statement by statement."""

from pathlib import Path


def run_sql(con, name: str, **parameters) -> None:
    """The statements of `name`.sql, each with those of the parameters that it uses; `con` is a DuckDB connection."""
    import duckdb

    for statement in duckdb.extract_statements(Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")):
        con.execute(statement, {key: parameters[key] for key in statement.named_parameters})
