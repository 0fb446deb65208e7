"""Decontamination of the prompt bank, and the hashes of what is evaluated on, for later stages.

Prompts of the train and validation splits must not hold what an evaluation set asks: the sets listed under
`decontamination.against`, and sources of the bank that are final as a whole. (Of sources split by hash, equal and
nearly equal prompts are duplicates, and the final one stays.) Rows of procedural sources, and final rows of these, are
compared by equality alone: their templates share every n-gram.

`publish` writes all of it, and the final split, as an index without any text (tasks/curation/contamination.py), so that
chains of thought can be held against the final problems by stages that must not read them.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.curation.policy import Decontamination
from tasks.prompts.bank import Rejection, Row


def overlaps(rows: list[Row], policy: Decontamination, root: Path) -> list[Rejection | None]:
    """Why each row is contaminated, or None; final rows are what is evaluated on, and never are."""
    from tasks.curation.contamination import benchmarks, merged, prompt_decisions

    whole = [row for row in rows if row.source.split == "final"]
    listed = [benchmarks(policy, root)] if policy.against else []
    if not listed and not whole:
        return [None] * len(rows)
    problems = merged([*listed, _problems(_named(whole), policy)], _lengths(policy))
    out: list[Rejection | None] = [None] * len(rows)
    for procedural in (False, True):
        mine = [i for i, r in enumerate(rows) if r.split != "final" and r.source.is_procedural == procedural]
        rule = policy.model_copy(update={"prompt_ngram": None}) if procedural else policy
        texts = pa.array([rows[i].raw.text for i in mine], pa.large_string())
        for i, findings in zip(mine, prompt_decisions(texts, problems, rule).to_pylist(), strict=True):
            if failed := next((f for f in findings if not f["keep"]), None):
                out[i] = (
                    failed["rule"],
                    failed["value"],
                    failed["threshold"],
                    f"{failed['evidence']}: {rows[i].raw.text[:80]!r}",
                )
    return out


def publish(final: Iterable[dict], procedural: set[str], policy: Decontamination, root: Path, folder: Path) -> int:
    """Write the index of the listed sets and of these final PROMPT rows into `folder`; returns the number of problems.

    `procedural`: names of sources whose rows are known by equality alone.
    """
    from tasks.curation.contamination import benchmarks, merged

    named = [(f"final:{r['source']}", r["id"], r["text"], r["source"] in procedural) for r in final]
    listed = [benchmarks(policy, root)] if policy.against else []
    problems = merged([*listed, _problems(named, policy)], _lengths(policy))
    problems.save(folder)
    return len(problems.items)


def _lengths(policy: Decontamination) -> list[int]:
    return [n for n in (policy.prompt_ngram, policy.text_ngram) if n is not None]


def _named(rows: list[Row]) -> list[tuple[str, str, str, bool]]:
    return [(f"final:{r.source.name}", r.raw.origin, r.raw.text, r.source.is_procedural) for r in rows]


def _problems(rows: list[tuple[str, str, str, bool]], policy: Decontamination):
    """(benchmark, item, text, by equality alone) as hashes: no n-grams of the last kind."""
    from tasks.curation.contamination import Benchmarks
    from tasks.curation.contamination_index import gram_sets
    from tasks.curation.contamination_keys import letter_keys

    texts = pa.array([text for _, _, text, _ in rows], pa.large_string())
    compared = np.array([not alone for _, _, _, alone in rows], bool)
    grams = {}
    for n in _lengths(policy):
        sizes, hashes = np.zeros(len(rows), np.int64), np.zeros(0, np.uint64)
        if compared.any():
            offsets, hashes = gram_sets(texts.filter(pa.array(compared)), n)
            sizes[compared] = np.diff(offsets)
        grams[n] = np.append(0, np.cumsum(sizes)), hashes
    return Benchmarks(tuple(r[0] for r in rows), tuple(r[1] for r in rows), letter_keys(texts), grams)
