"""Row ids: each is the hash of what determined the row, worked out again from the row itself.

A checksum notices a changed file. An id notices a changed row even where somebody wrote the file, its manifest and
dvc.lock anew. How each id is made is stated where rows are made: prompts in tasks/prompts/bank.py, completions in
tasks/sampling, examples in tasks/curation, pairs and labels in tasks/prompts/preferences.py.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache

import pyarrow.parquet as pq

from tasks.provenance.audit.books import Books, connect, read
from tasks.provenance.audit.finding import SHOWN, Collector, Outcome
from tasks.provenance.tables import Table
from tasks.rows import row_id

BATCH = 8192
REBUILD = "its content was changed after it got its id; rebuild it: `r1 run {}`"


def check(books: Books) -> Outcome:
    """Ids of prompts, completions, examples, pairs and labels, each recomputed; and no id twice in a table."""
    found, rows = Collector(), 0
    with connect() as db:
        for table in books.of(*COLUMNS):
            wrong, count = [], 0
            for id in _wrong(table):
                wrong, count = (wrong + [id] if len(wrong) < SHOWN else wrong), count + 1
            found.extend(
                books.shown(table.file), "is not the hash of its row", REBUILD.format(table.stage), wrong, count
            )
            _twice(db, books, table, found)
            rows += table.rows
    return found.outcome(rows, "ids")


def _twice(db, books: Books, table: Table, found: Collector) -> None:
    twice = db.sql(f"SELECT id, count(*) FROM {read([table])} GROUP BY id HAVING count(*) > 1 ORDER BY id").fetchall()
    found.extend(books.shown(table.file), "stands twice", REBUILD.format(table.stage), [i for i, _ in twice[:SHOWN]], len(twice))  # fmt: skip


def _wrong(table: Table) -> Iterator[str]:
    """Ids that are not what their row gives."""
    expected = EXPECTED[table.kind]()
    for batch in pq.ParquetFile(table.file).iter_batches(BATCH, columns=["id", *COLUMNS[table.kind]]):
        columns = [column.to_pylist() for column in batch.columns]
        for id, *row in zip(*columns, strict=True):
            try:
                same = expected(id, *row)
            except (
                AttributeError,
                TypeError,
                ValueError,
            ):  # a null, or settings that are no JSON: no stage writes such
                same = False
            if not same:
                yield str(id)


@lru_cache(maxsize=4096)  # one for each stage and source, or each imported output
def _settings(text: str) -> dict:
    return json.loads(text)


def _prompt() -> Callable[..., bool]:
    return lambda id, source, domain, text, gold: id == row_id("prompt", source=source, domain=domain, text=text, gold=gold)  # fmt: skip


def _completion() -> Callable[..., bool]:
    def same(id, prompt, model, engine, settings, index, text) -> bool:
        said = _settings(settings)
        what = {"prompt": prompt, "model": model, "engine": engine, "settings": said}
        if engine == "imported":  # one output of a file's row: its place is in the settings
            return id == row_id("completion", **what, text=text)
        begin = said.get("begin", "")  # how it was made to begin, which the model did not sample
        return text.startswith(begin) and id == row_id("completion", **what, index=index, text=text[len(begin) :])

    return same


def _example() -> Callable[..., bool]:
    """A small source is used several times over: a copy's id says of which row, and which copy it is."""
    seen: Counter[str] = Counter()

    def same(id, prompt, completion, response) -> bool:
        base = row_id("example", prompt=prompt, completion=completion, response=response)
        copy = seen[base]
        seen[base] += 1
        return id == (row_id("example", of=base, copy=copy) if copy else base)

    return same


def _pair() -> Callable[..., bool]:
    return lambda id, prompt, chosen, rejected, by: id == row_id("pair", prompt=prompt, chosen=chosen, rejected=rejected, by=by)  # fmt: skip


def _label() -> Callable[..., bool]:
    return lambda id, prompt, response, by: id == row_id("label", prompt=prompt, response=response, by=by)


COLUMNS = {  # in the order in which the functions take them
    "prompt": ("source", "domain", "text", "gold"),
    "completion": ("prompt_id", "model", "engine", "settings", "index", "text"),
    "sft_example": ("prompt_id", "completion_id", "response"),
    "preference_pair": ("prompt", "chosen", "rejected", "labelled_by"),
    "safety_label": ("prompt", "response", "labelled_by"),
}
EXPECTED = {
    "prompt": _prompt,
    "completion": _completion,
    "sft_example": _example,
    "preference_pair": _pair,
    "safety_label": _label,
}
