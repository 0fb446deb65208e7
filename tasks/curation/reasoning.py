"""Rejection sampling of the reasoning set: which candidates stay, and why the others do not (reasoning.sql).

Every rule is evaluated for every candidate and written down; the first failing one, in the order of RULES, is the
reason a candidate is counted under.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks.responses import parse, reasoning_language_share
from tasks.rows import DECISION

RULES = (
    "verdict", "truncated", "well_formed", "mixed_language", "long_paragraph", "code_block", "duplicate", "per_prompt_cap",
)  # fmt: skip


@dataclass(frozen=True)
class Filtered:
    kept: list[int]  # positions in the table of candidates, ascending
    decisions: pa.Table  # DECISION: every rule x every candidate
    funnel: list[dict]  # rule, rejected (first failing), failed (failing at all)


def filter_candidates(
    candidates: pa.Table,
    verdicts: pa.Table,
    languages: dict[str, str],
    min_language_share: float,
    max_paragraph_chars: int,
    max_per_prompt: int,
    progress: Callable[[int, int], None] | None = None,
) -> Filtered:
    """Filter COMPLETION rows by their VERDICT rows; `languages` is the target language of each prompt id."""
    import duckdb

    parameters = {
        "min_language_share": min_language_share, "max_paragraph_chars": max_paragraph_chars, "max_per_prompt": max_per_prompt,
    }  # fmt: skip
    total = candidates.num_rows
    with duckdb.connect(":memory:", config={"threads": 1}) as db:
        numbered = candidates.append_column("position", pa.array(range(total), pa.int64()))
        db.register("candidates", numbered)
        db.register("verdicts", verdicts)
        db.register("traits", _traits(candidates, languages, progress))
        for statement in duckdb.extract_statements(Path(__file__).with_suffix(".sql").read_text()):
            used = {name: parameters[name] for name in statement.named_parameters}
            db.execute(statement, used)
        table = db.sql(
            "SELECT c.id AS row_id, 'reasoning' AS stage, d.rule, d.value, d.threshold::DOUBLE AS threshold, d.keep, d.evidence "
            "FROM decisions d JOIN candidates c USING (position) ORDER BY d.position, d.rule_order"
        ).to_arrow_table()
        kept = [p for (p,) in db.execute(
            "SELECT position FROM candidates WHERE position NOT IN (SELECT position FROM first_failure) ORDER BY position"
        ).fetchall()]  # fmt: skip
        rejected = dict(db.execute("SELECT rule, count(*) FROM first_failure GROUP BY rule").fetchall())
        failed = dict(db.execute("SELECT rule, count(*) FROM decisions WHERE NOT keep GROUP BY rule").fetchall())
    if len(kept) + sum(rejected.values()) != total or table.num_rows != total * len(RULES):
        raise AssertionError(
            f"{total} candidates in, {len(kept)} kept + {rejected} rejected, {table.num_rows} decisions"
        )
    funnel = [{"rule": rule, "rejected": rejected.get(rule, 0), "failed": failed.get(rule, 0)} for rule in RULES]
    return Filtered(kept, table.cast(DECISION), funnel)


def _traits(candidates: pa.Table, languages: dict[str, str], progress: Callable[[int, int], None] | None) -> pa.Table:
    """What SQL measures slowly or not at all: the form of a response and the language of its chain of thought."""
    formed, shares = [], []
    for i, (text, prompt) in enumerate(zip(candidates["text"].to_pylist(), candidates["prompt_id"].to_pylist())):
        formed.append(parse(text).well_formed)
        shares.append(reasoning_language_share(text, languages[prompt]))
        if progress and i % 1000 == 0:
            progress(i, candidates.num_rows)
    columns = {"position": pa.array(range(len(formed)), pa.int64()), "well_formed": pa.array(formed, pa.bool_())}
    return pa.table({**columns, "language_share": pa.array(shares, pa.float64())})
