"""Row ids: each is the hash of what determined the row, worked out again from the row itself.

A checksum notices a changed file. An id notices a changed row even where somebody wrote the file, its manifest and
dvc.lock anew. How each id is made is stated where rows are made: prompts in tasks/prompts/bank.py, completions in
tasks/sampling, examples in tasks/curation, pairs and labels in tasks/prompts/preferences.py.
"""

import hashlib
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from json.encoder import encode_basestring
from pathlib import Path

import pyarrow.parquet as pq

from tasks.provenance.audit.books import Books, connect, read
from tasks.provenance.audit.finding import SHOWN, Collector, Outcome
from tasks.provenance.tables import Kind, Table
from tasks.rows import row_id

BATCH = 8192
GROUPS = 16  # row groups of one part
MANY = 300_000  # rows from which on more processes pay their start
PROCESSES = 2
REBUILD = "its content was changed after it got its id; rebuild it: `r1 run {}`"


def check(books: Books) -> Outcome:
    """Ids of prompts, completions, examples, pairs and labels, each recomputed; and no id twice in a table."""
    found, tables = Collector(), books.of(*COLUMNS)
    parts = [part for table in tables for part in _parts(table)]
    wrong: dict[Path, list[str]] = {}
    counts: Counter[Path] = Counter()
    for (file, *_), (ids, count) in zip(parts, _each(parts, sum(t.rows for t in tables)), strict=True):
        wrong[file] = [*wrong.get(file, []), *ids][:SHOWN]
        counts[file] += count
    with connect() as db:
        for table in tables:
            where, remedy = books.shown(table.file), REBUILD.format(table.stage)
            found.extend(where, "is not the hash of its row", remedy, wrong.get(table.file, []), counts[table.file])
            _twice(db, books, table, found)
    return found.outcome(sum(t.rows for t in tables), "ids")


Part = tuple[Path, Kind, range]  # file, kind, row groups


def _parts(table: Table) -> list[Part]:
    """Pieces of a table that can be looked at apart; examples are one, because copies are counted in their order."""
    groups = pq.read_metadata(table.file).num_row_groups
    step = groups if table.kind == "sft_example" else GROUPS
    return [(table.file, table.kind, range(i, min(i + step, groups))) for i in range(0, groups, max(step, 1))]


def _each(parts: list[Part], rows: int) -> Iterable[tuple[list[str], int]]:
    """(first wrong ids, how many) of each part; many rows are shared out to processes, because hashing text is Python's."""
    if rows < MANY:
        return map(_wrong, parts)
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_wrong, parts))


def _twice(db, books: Books, table: Table, found: Collector) -> None:
    twice = db.sql(f"SELECT id, count(*) FROM {read([table])} GROUP BY id HAVING count(*) > 1 ORDER BY id").fetchall()
    found.extend(books.shown(table.file), "stands twice", REBUILD.format(table.stage), [i for i, _ in twice[:SHOWN]], len(twice))  # fmt: skip


def _wrong(part: Part) -> tuple[list[str], int]:
    """Ids that are not what their row gives: the first ones, and how many."""
    file, kind, groups = part
    expected, first, count = EXPECTED[kind](), [], 0
    for batch in pq.ParquetFile(file).iter_batches(BATCH, row_groups=list(groups), columns=["id", *COLUMNS[kind]]):
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
                first, count = (first + [str(id)])[:SHOWN], count + 1
    return first, count


def _same(id: str, kind: str, blob: str, **content) -> bool:
    """Whether an id is that of the content; `blob` is its canonical JSON, put together faster than json does it.

    Where the blob's hash is not the id, the content's is asked, as rows are made: a difference between the two could
    only cost time.
    """
    return id == _quick(kind, blob) or id == row_id(kind, **content)


def _quick(kind: str, blob: str) -> str:
    return f"{kind}_{hashlib.blake2b(blob.encode(), digest_size=16).hexdigest()}"


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring(value)


@lru_cache(maxsize=4096)  # one for each stage and source, or each imported output
def _settings(text: str) -> tuple[dict, str]:
    """(settings, their canonical JSON)."""
    said = json.loads(text)
    return said, json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _prompt() -> Callable[..., bool]:
    def same(id, source, domain, text, gold) -> bool:
        blob = f'["prompt",{{"domain":{_text(domain)},"gold":{_text(gold)},"source":{_text(source)},"text":{_text(text)}}}]'
        return _same(id, "prompt", blob, source=source, domain=domain, text=text, gold=gold)

    return same


@lru_cache(maxsize=4096)
def _frame(engine: str, model: str, settings: str) -> tuple[dict, str, str, str]:
    """(settings, and the parts of a completion's blob around its index, prompt and text): the same for a whole stage."""
    said, canonical = _settings(settings)
    return (
        said,
        f'["completion",{{"engine":{_text(engine)},"index":',
        f',"model":{_text(model)},"prompt":',
        f',"settings":{canonical},"text":',
    )


def _completion() -> Callable[..., bool]:
    def same(id, prompt, model, engine, settings, index, text) -> bool:
        said, to_index, to_prompt, to_text = _frame(engine, model, settings)
        begin = said.get("begin", "")  # how it was made to begin, which the model did not sample
        if not text.startswith(begin):
            return False
        drawn = text[len(begin) :]
        blob = f"{to_index}{index}{to_prompt}{_text(prompt)}{to_text}{_text(drawn)}}}]"
        if engine != "imported" and id == _quick("completion", blob):
            return True
        what = {"prompt": prompt, "model": model, "engine": engine, "settings": said}
        if engine == "imported":  # one output of a file's row: its place is in the settings
            return id == row_id("completion", **what, text=text)
        return id == row_id("completion", **what, index=index, text=drawn)

    return same


def _example() -> Callable[..., bool]:
    """A small source is used several times over: a copy's id says of which row, and which copy it is."""
    copies: Counter[str] = Counter()

    def same(id, prompt, completion, response) -> bool:
        blob = f'["example",{{"completion":{_text(completion)},"prompt":{_text(prompt)},"response":{_text(response)}}}]'
        if _same(id, "example", blob, prompt=prompt, completion=completion, response=response):
            return True
        base = row_id("example", prompt=prompt, completion=completion, response=response)
        copies[base] += 1
        return id == row_id("example", of=base, copy=copies[base])

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
