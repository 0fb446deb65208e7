"""The kernel's measures in plain SQL (oracle.sql): the slow reference that the kernel is tested against."""

from pathlib import Path

import pyarrow as pa

from tasks.curation.kernel.characters import letter_rules
from tasks.curation.kernel.measures import Spec, schema
from tasks.responses import CHARS_PER_WORD, SCRIPTS

_SQL = Path(__file__).with_name("oracle.sql")


def measure(
    texts: pa.Array,
    spec: Spec = Spec(),
    items: pa.Array | None = None,
    gram_n: int = 0,
    max_document_frequency: int | None = None,
) -> pa.Table:
    """`tasks.curation.kernel.measure`, with the benchmark items themselves in the place of their index."""
    import duckdb

    with duckdb.connect() as con:
        con.execute("SET threads = 1")
        con.register("given", pa.table({"row": range(len(texts)), "text": texts.cast(pa.string())}))
        con.execute("CREATE TABLE texts AS FROM given")
        texts_of_items = pa.array([], pa.string()) if items is None else items.cast(pa.string())
        places = pa.array(range(len(texts_of_items)), pa.int64())
        con.register("benchmark", pa.table({"item": places, "text": texts_of_items}))
        con.execute("CREATE TABLE items AS FROM benchmark")
        con.execute(
            "CREATE TABLE spec AS SELECT ? AS n, ? AS bands, ? AS rows, ? AS gram_n, ? AS max_df",
            [spec.shingle, spec.bands, spec.rows, gram_n, max_document_frequency or len(places)],
        )
        needed, _ = letter_rules()
        con.execute("CREATE TABLE scripts (name VARCHAR, letters VARCHAR, chars_per_word DOUBLE, needed INTEGER)")
        con.executemany("INSERT INTO scripts VALUES (?, ?, ?, ?)", [
            (name, letters, CHARS_PER_WORD.get(name, 1), int(needed[place]))
            for place, (name, letters) in enumerate(SCRIPTS.items(), 1)
        ])  # fmt: skip
        con.execute(_SQL.read_text())
        wanted = schema(spec, items is not None)
        table = con.sql(f"SELECT {', '.join(wanted.names)} FROM measured ORDER BY row").to_arrow_table()
    return table.cast(wanted)
