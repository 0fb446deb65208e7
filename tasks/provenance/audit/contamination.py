"""Contamination: no evaluation item stands in what anything is trained on.

Evaluation items are the final split and the listed evaluation sets, by the hashes that `prompts` publishes
(data/01_prompts/benchmarks). That index is proved first: it must hold every row of the final split. Then every training
text is held against it by the rules of the recipe itself (tasks/curation/contamination.py): prompts by equality but for
case, spacing and punctuation and by n-grams, responses by the coverage of longer n-grams. Rows of procedural sources,
whose templates share every n-gram, are compared by equality alone, as in the prompt bank.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from tasks.curation.contamination import Benchmarks, prompt_decisions
from tasks.curation.contamination_index import equal_pairs
from tasks.curation.contamination_keys import letter_keys
from tasks.curation.contamination_scan import overlaps
from tasks.curation.policy import Decontamination
from tasks.prompts.judgements import pairs
from tasks.prompts.readers import SourceError
from tasks.provenance.artifacts import ArtifactError
from tasks.provenance.audit.books import Books
from tasks.provenance.audit.finding import SHOWN, Collector, Outcome
from tasks.provenance.tables import Table
from tasks.rows import derive_seed

BATCH = 16384
TEXTS = {  # kind -> columns a model may learn from: questions, responses
    "prompt": (("text",), ("solution",)),
    "sft_example": (("prompt",), ("response",)),
    "preference_pair": (("prompt",), ("chosen", "rejected")),
    "safety_label": (("prompt",), ("response",)),
}
REMEDY = "rebuild it: `r1 run {}`; if it stays, decontamination let it through: `r1 contamination` shows the texts"


def check(books: Books) -> Outcome:
    """The published index is whole, and no training text holds one of its items."""
    found, rows, sets = Collector(), 0, []
    folder = books.root / "data/01_prompts/benchmarks"
    final = books.made_by("prompts", "final")
    if final is None:
        found.add("data/01_final", "is not here: nothing can be held against the final split", "fetch it with `dvc pull`, or make it: `r1 run prompts`")  # fmt: skip
        return found.outcome(0, "rows", sets=[], items=0)
    try:
        items = Benchmarks.load(folder)
    except (ArtifactError, SourceError, OSError) as error:
        found.add(
            books.shown(folder), f"is no readable index of evaluation items: {error}", "rebuild it: `r1 run prompts`"
        )
        return found.outcome(0, "rows", sets=[], items=0)
    _whole(books, final, items, found)
    ids = pa.array(pq.read_table(final.file, columns=["id"])["id"].to_pylist())
    for table in (t for t in books.of(*TEXTS) if _is_trained_on(t)):
        before = sum(f.rows for f in found)
        _table(books, table, items, ids, found)
        rows += table.rows
        sets.append(
            {"set": books.shown(table.file), "rows": table.rows, "contaminated": sum(f.rows for f in found) - before}
        )
    _judge(books, items, found)
    _unseen(books, found)
    return found.outcome(rows, "rows", sets=sets, items=len(items.items))


def _is_trained_on(table: Table) -> bool:
    """Every table with texts but the final split and its copies in `evaluate`."""
    return table.stage.split("@")[0] != "evaluate" and (table.stage, table.name) != ("prompts", "final")


def _whole(books: Books, final: Table, items: Benchmarks, found: Collector) -> None:
    """Every problem of the final split is in the index, under its id and with the hash of its text."""
    rows = pq.read_table(final.file, columns=["id", "text"])
    indexed = dict(zip(items.items, items.normals.to_pylist(), strict=True))
    lost = [
        id
        for id, key in zip(rows["id"].to_pylist(), letter_keys(rows["text"]).to_pylist(), strict=True)
        if indexed.get(id, b"") != key
    ]
    found.extend(books.shown(final.file), "is not in the published index of evaluation items", "rebuild it: `r1 run prompts`", lost[:SHOWN], len(lost))  # fmt: skip


def _policy(books: Books, stage: str) -> Decontamination:
    entry = (books.stages[stage].section if stage in books.stages else {}).get("decontamination") or {}
    return Decontamination.model_validate(entry)


def _table(books: Books, table: Table, items: Benchmarks, final: pa.Array, found: Collector) -> None:
    """Questions and responses of one table; rows that name a final prompt as theirs."""
    asked, said = TEXTS[table.kind]
    where, remedy = books.shown(table.file), REMEDY.format(table.stage)
    key = "prompt_id" if "prompt_id" in table.columns else "id"
    read = ["id", key, *asked, *said, *(c for c in ("source",) if c in table.columns)]
    policy, text_policy = _policy(books, "prompts"), _policy(books, "reasoning")
    index = items.text_index(text_policy) if text_policy.text_ngram in items.grams else None
    if index is None and said:
        _unread(books, text_policy, table, found)
    for batch in pq.ParquetFile(table.file).iter_batches(BATCH, columns=list(dict.fromkeys(read))):
        ids = batch["id"].to_pylist()
        for at in np.flatnonzero(pc.is_in(batch[key], final)):
            found.add(where, "is on a prompt of the final split", remedy, ids[at])
        for column in asked:
            for at, rule, evidence in _questions(books, batch, column, items, policy):
                found.add(where, f"its {column} is an evaluation item ({rule})", remedy, f"{ids[at]} {evidence}")
        for column in said if index is not None else ():
            for at, evidence in _responses(batch, column, items, index, text_policy):
                found.add(where, f"its {column} holds an evaluation item (text_coverage)", remedy, f"{ids[at]} {evidence}")  # fmt: skip


def _unread(books: Books, policy: Decontamination, table: Table, found: Collector) -> None:
    """Responses that were held against nothing: the recipe asks for it, or the index lacks what it takes."""
    if policy.text_ngram is None:
        found.add(books.shown(table.file), "its responses were not compared: `reasoning.decontamination.text_ngram` is null", "set it", level="remark")  # fmt: skip
    else:
        found.add("data/01_prompts/benchmarks", f"has no {policy.text_ngram}-grams: no response was compared", "set `text_ngram` of prompts.decontamination to that of reasoning.decontamination, then `r1 run prompts`", books.shown(table.file))  # fmt: skip


def _questions(books: Books, batch: pa.RecordBatch, column: str, items: Benchmarks, policy: Decontamination):
    """(row, rule, evidence) of questions that an evaluation set asks."""
    texts = batch[column].cast(pa.large_string()).fill_null("")
    for at, item in zip(*equal_pairs(letter_keys(texts), items.normals), strict=True):
        yield int(at), "prompt_exact", f"= {items.names[item]} {items.items[item]}"
    if policy.prompt_ngram is None or not len(items.grams.get(policy.prompt_ngram, ((), ()))[1]):
        return
    sources = batch["source"].to_pylist() if "source" in batch.schema.names else [None] * len(batch)
    procedural = {name for name in set(sources) if _procedural(books, name)}
    natural = [i for i, name in enumerate(sources) if name not in procedural]
    decisions = prompt_decisions(texts.take(pa.array(natural, pa.int64())), items, policy.model_copy(update={"prompt_exact": False}))  # fmt: skip
    for at, findings in zip(natural, decisions.to_pylist(), strict=True):
        for finding in findings:
            if not finding["keep"]:
                yield at, finding["rule"], finding["evidence"]


def _procedural(books: Books, source: str | None) -> bool:
    """Whether the rows of a source share their template by design (tasks/prompts/sources.py)."""
    entry = books.sources.get(source)
    if entry is None:
        return False
    if entry["stage"] == "candidates":
        from tasks.sampling.imported import ImportedSource as Source
    else:
        from tasks.prompts.sources import Source
    try:
        return Source.model_validate({k: v for k, v in entry.items() if k != "stage"}).is_procedural
    except ValidationError:  # declared by an older version of the code: compared by every rule
        return False


def _responses(batch: pa.RecordBatch, column: str, items: Benchmarks, index, policy: Decontamination):
    """(row, evidence) of responses that have too much of one evaluation item."""
    hits = overlaps(batch[column].cast(pa.large_string()).fill_null(""), index)
    coverage = hits["gram_coverage"].to_numpy()
    for at in (coverage >= policy.text_coverage).nonzero()[0]:
        item = hits["gram_item"][int(at)].as_py()
        yield int(at), f"{coverage[at]:.0%} of {items.names[item]} {items.items[item]}"


def _judge(books: Books, items: Benchmarks, found: Collector) -> None:
    """The judge's training pairs, which are kept nowhere: made again from its seed, as flows/judge.py makes them."""
    stage = books.stages.get("judge")
    if stage is None or not {"pairs", "held_out"} <= stage.section.keys():
        return
    seed, count = derive_seed(stage.params["seed"], "judge"), stage.section["pairs"]
    questions = [pair.question for pair in pairs(seed, count + stage.section["held_out"])[:count]]
    for at, item in zip(*equal_pairs(letter_keys(pa.array(questions)), items.normals), strict=True):
        found.add("judge", "a question it is trained on is an evaluation item", "leave out the held-out band in tasks/prompts/judgements.py, then `r1 run judge --downstream`", f"{questions[at]!r} = {items.names[item]} {items.items[item]}")  # fmt: skip


def _unseen(books: Books, found: Collector) -> None:
    """What is trained on text of which no rows are kept: said, not passed over."""
    for stage in books.stages.values():
        if stage.name in ("base", "student_base") and "pretrain" in str(stage.params):
            found.add(stage.stage, "its pretraining text is made on the fly and not kept: no row of it was compared here", "tasks/prompts/corpus.py leaves out the held-out band by content hash", level="remark")  # fmt: skip
        elif stage.name in ("base", "student_base"):
            found.add(stage.stage, "was pretrained by others, on text that nobody here can compare", "say so beside its scores", level="remark")  # fmt: skip
