"""Rows by their text: equal ones, ones equal but for case, spaces and punctuation, and else the nearest.

A key of every text lies beside the row index, so that equal texts are found without reading any; it is built the first
time a text is asked for. The nearest ones take a scan of all texts.
"""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from tasks.provenance.artifacts import REBUILD, ArtifactError
from tasks.provenance.books import Books
from tasks.provenance.row_index import Runs, check, write_runs
from tasks.provenance.tables import Table

COLUMNS = {  # kind -> columns whose text may be asked for
    "prompt": ("text",), "completion": ("text",), "sft_example": ("response",),
    "preference_pair": ("chosen", "rejected"), "safety_label": ("response",),
}  # fmt: skip
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DROPPED = " \t\n\r\x0b\x0c.,;:!?'\"`$\\{}()[]_~#&|@"  # signs of arithmetic stay: 3+4 is not 3-4
_TABLE = str.maketrans(UPPER, UPPER.lower(), DROPPED)
_KEY = f"SELECT md5_number_lower(translate(text, '{UPPER}' || $dropped, '{UPPER.lower()}')) AS key FROM (SELECT "
PIECES, SCANNED, SHOWN = 12, 60, 5  # words that are sought, rows that are compared in full, rows that are told
LEAST = 0.2  # similarity of a near text


def normal(text: str) -> str:
    """ASCII letters in lower case, without white space and punctuation."""
    return text.translate(_TABLE)


def key_of(text: str) -> int:
    return int.from_bytes(hashlib.md5(normal(text).encode(), usedforsecurity=False).digest()[8:], "little")


def columns(books: Books) -> list[tuple[Table, str]]:
    return [(t, c) for t in books.tables if t.rows for c in COLUMNS.get(t.kind, ())]


def _path(books: Books, table: Table, column: str) -> Path:
    return books.index.folder / f"{table.sha256[:32]}.{column}_text"


def build(books: Books, progress: Callable[[int, int, str], None] = lambda done, of, name: None) -> None:
    """The keys of all texts that have none yet. ArtifactError: a table is damaged."""
    missing = [(t, c) for t, c in columns(books) if not _path(books, t, c).is_file()]
    if not missing:
        return
    check(table for table, _ in missing)
    import duckdb
    import pyarrow as pa

    books.index.folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(config={"threads": 1}) as db:
        for done, (table, column) in enumerate(missing):
            progress(done, len(missing), f"{table.artifact.name}/{table.name}.{column}")
            found = db.sql(
                f'{_KEY}"{column}" AS text FROM read_parquet($file))',
                params={"dropped": DROPPED, "file": str(table.file)},
            )
            keys = pa.chunked_array([b.column(0) for b in found.to_arrow_reader(1 << 16)], pa.uint64())
            write_runs(_path(books, table, column), keys)
    progress(len(missing), len(missing), "")


def find(books: Books, text: str) -> dict:
    """`match`: "exact" | "normalised" | "nearest" | "none". `rows`: id, kind, table, column, similarity and text of each.

    `unread`: rows that are equal but for case, spaces and punctuation and were not read, where a table has very many.
    """
    found, unread = _equal(books, text)
    exact = [hit for hit in found if hit["text"] == text] or [h for h in found if h["text"].strip() == text.strip()]
    if exact or found:
        return {"match": "exact" if exact else "normalised", "rows": exact or found, "unread": unread}
    near = sorted(_nearest(books, text), key=lambda hit: (-hit["similarity"], hit["id"]))
    return {"match": "nearest" if near else "none", "rows": near[:SHOWN], "unread": 0}


def _equal(books: Books, text: str) -> tuple[list[dict], int]:
    """(rows of the same normal form, how many more have its key): of each table the first ones are read."""
    sought, wanted, found, unread = key_of(text), normal(text), [], 0
    for table, column in columns(books):
        runs = Runs.read(_path(books, table, column)).find(sought)
        numbers = [n for run in runs for n in run]
        unread += max(0, len(numbers) - SCANNED)
        for row in books.files.rows(table.file, numbers[:SCANNED], ["id", column]):
            if normal(row[column]) == wanted:
                found.append(_hit(books, table, column, row["id"], row[column], 1.0))
    return found, unread


def _hit(books: Books, table: Table, column: str, id: str, text: str, similarity: float) -> dict:
    place = f"{books.name(table.artifact)}/{table.name}"
    return {"id": id, "kind": table.kind, "table": place, "column": column, "similarity": similarity, "text": text}


def _nearest(books: Books, text: str) -> list[dict]:
    """Rows that share words with the text, and prompts that were dropped with such an excerpt in their evidence."""
    import duckdb

    pieces = _pieces(text)
    if not pieces:
        return []
    score = " + ".join(f"contains(text, $p{i})::INT" for i in range(len(pieces)))
    query = (
        'SELECT id, text FROM (SELECT "{id}" AS id, "{column}" AS text FROM read_parquet($file) WHERE {where}) '
        f"WHERE {score} >= {max(1, len(pieces) // 3)} ORDER BY {score} DESC, abs(length(text) - $length), id LIMIT {SCANNED}"
    )
    given = {f"p{i}": piece for i, piece in enumerate(pieces)} | {"length": len(text)}
    places = [(t, c, "id", "true") for t, c in columns(books)]
    places += [
        (t, "evidence", "row_id", "stage = 'prompts'")
        for t in books.tables
        if t.kind == "decision" and t.stage == "prompts" and t.rows
    ]
    found: dict[tuple[str, str], dict] = {}
    with duckdb.connect(config={"threads": len(os.sched_getaffinity(0))}) as db:
        for table, column, id, where in places:
            try:
                asked = query.format(id=id, column=column, where=where)
                rows = db.execute(asked, given | {"file": str(table.file)}).fetchall()
            except duckdb.Error as error:
                raise ArtifactError(f"{table.file} cannot be read ({error}); {REBUILD}") from None
            for key, other in rows:
                if (near := similarity(text, other)) >= LEAST:
                    hit = _hit(books, table, column, key, other, near)
                    found.setdefault((key, column), hit)
    return list(found.values())


def _pieces(text: str) -> list[str]:
    """The longest words of a text, and where it has few, stretches of it."""
    words = sorted(dict.fromkeys(re.findall(r"[^\s.,;:!?]{2,}", text)), key=lambda w: (-len(w), w))
    if len(words) < 3:
        words += [text[i : i + 4] for i in range(0, max(1, len(text) - 3), max(1, len(text) // PIECES))]
    return list(dict.fromkeys(words))[:PIECES]


def similarity(a: str, b: str) -> float:
    """Jaccard of the stretches of three characters of both normal forms."""
    grams = [{normal(t)[i : i + 3] for i in range(max(1, len(normal(t)) - 2))} for t in (a, b)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])
