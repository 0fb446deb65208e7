"""The prompt bank: raw rows of all sources become prompts, or rejections with a rule, a value and a threshold.

Every row ends as kept or rejected. Rules, in the order they are applied: the row itself (`*_type`, `format_*`, `meta`,
`options`, `gold_pattern`, `language`), `empty_text`, `prompt_tokens`, `gold` (missing, or its verifier cannot use it),
what an evaluation set holds (`prompt_exact`, `prompt_ngram`), `duplicate`, `near_duplicate`. Of equal prompts the one
in the final split stays, then the first: no training prompt equals a final one, or nearly so.

Rows of procedural sources (families, gym tasks, Knights & Knaves …) share their template by design, and two different
problems may differ in one sign: they are only held to equality after normalisation.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tasks.curation.kernel.characters import normalised
from tasks.prompts.columns import RawRow
from tasks.prompts.readers import SourceError
from tasks.prompts.sources import NEEDS_GOLD, Reading, Source
from tasks.prompts.split import split_of
from tasks.rows import row_id

_TOKEN = re.compile(r"[A-Za-z]{1,6}|\d{1,3}|[^\sA-Za-z\d]")

Rejection = tuple[str, float | None, float | None, str]  # rule, value, threshold, evidence


@dataclass
class Row:
    """A raw row on its way; `rejected` is the first rule that it failed."""

    source: Source
    raw: RawRow
    split: str
    rejected: Rejection | None
    repeats: str | None = None  # the source whose prompt it repeats

    @property
    def name(self) -> str:
        return f"{self.source.name} {self.raw.origin}"


GoldCheck = Callable[[list[dict]], list[str | None]]  # rows with domain, gold, meta -> None or what is wrong
Overlap = Callable[[list[Row]], list[Rejection | None]]  # with evaluation sets
Near = Callable[[list[str]], list[tuple[int, float, float] | None]]  # -> (place of the kept one, Jaccard, threshold)


@dataclass
class Bank:
    """What became of the rows: `rows` in the order of the sources, `decisions` on the rejected ones."""

    rows: list[dict]
    decisions: list[dict]
    sources: dict[str, dict]
    repeats: dict[str, dict[str, int]]  # source -> of which source -> rows that repeat one of its prompts


def estimate_tokens(text: str) -> int:
    """An estimate without any tokenizer: letters by six, digits by three, every other sign for itself.

    The bank does not depend on the base model; on English and LaTeX this is near or above what byte-pair
    vocabularies need. What the model truly reads is checked again where prompts are rendered.
    """
    return len(_TOKEN.findall(text))


def build(
    readings: list[Reading],
    check_golds: GoldCheck,
    validation_share: float,
    final_share: float,
    max_prompt_tokens: int,
    max_duplicate_share: float,
    overlap: Overlap = lambda rows: [None] * len(rows),
    near: Near = lambda texts: [None] * len(texts),
    count_tokens: Callable[[str], int] = estimate_tokens,
) -> Bank:
    """The bank of all sources; raises SourceError where a source consists of duplicates or nothing of it is left."""
    rows = []
    for reading in readings:
        forced = None if reading.source.split == "by-hash" else reading.source.split
        for raw in reading.rows:
            split = forced or split_of(raw.text, validation_share, final_share)
            rows.append(Row(reading.source, raw, split, _reject(raw, count_tokens, max_prompt_tokens)))
    _check_golds(rows, check_golds)
    left = _open(rows)
    for row, rejected in zip(left, overlap(left), strict=True):
        row.rejected = rejected
    _drop_equal(rows)
    _stop_at_copies(rows, max_duplicate_share)
    _drop_near(rows, near)
    _stop_at_copies(rows, max_duplicate_share)
    kept = [_prompt(row) for row in rows if row.rejected is None]
    decisions = [_decision(row) for row in rows if row.rejected is not None]
    if len(kept) + len(decisions) != len(rows):
        raise AssertionError(f"{len(rows)} rows in, {len(kept)} kept + {len(decisions)} rejected")
    repeats = {
        r.source.name: dict(Counter(x.repeats for x in rows if x.source is r.source and x.repeats)) for r in readings
    }
    return Bank(kept, decisions, _facts(readings, rows), {name: found for name, found in repeats.items() if found})


def _open(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.rejected is None]


def _reject(raw: RawRow, count_tokens: Callable[[str], int], max_tokens: int) -> Rejection | None:
    if raw.problem:
        return raw.problem[0], None, None, raw.problem[1]
    if not raw.text.strip():
        return "empty_text", 0.0, 1.0, "the text is empty"
    if (tokens := count_tokens(raw.text)) > max_tokens:
        return "prompt_tokens", float(tokens), float(max_tokens), f"{tokens} tokens: {raw.text[:60]!r}…"
    if raw.domain in NEEDS_GOLD and not (raw.gold or "").strip():
        return "gold", 0.0, 1.0, "there is no gold"
    return None


def _check_golds(rows: list[Row], check: GoldCheck) -> None:
    left = _open(rows)
    asked = [{"domain": r.raw.domain, "gold": r.raw.gold, "meta": json.dumps(r.raw.meta)} for r in left]
    for row, problem in zip(left, check(asked), strict=True):
        if problem:
            row.rejected = "gold", 0.0, 1.0, f"gold {row.raw.gold!r}: {problem}"


def _preferred(rows: list[Row]) -> list[Row]:
    """Those still open, one in the final split before others."""
    return sorted(_open(rows), key=lambda row: row.split != "final")


def _drop_equal(rows: list[Row]) -> None:
    """Keep the first of prompts that are equal after normalisation."""
    first: dict[str, Row] = {}
    for row in _preferred(rows):
        kept = first.setdefault(normalised(row.raw.text), row)
        if kept is not row:
            row.repeats = kept.source.name
            row.rejected = "duplicate", 1.0, 0.0, f"same text as {kept.name}, which is kept{_other_gold(row, kept)}"


def _drop_near(rows: list[Row], near: Near) -> None:
    left = [row for row in _preferred(rows) if not row.source.is_procedural]
    for row, found in zip(left, near([row.raw.text for row in left]), strict=True):
        if found is not None:
            kept, jaccard, threshold = left[found[0]], *found[1:]
            row.repeats = kept.source.name
            evidence = (
                f"Jaccard {jaccard:.3f} with {kept.name}, which is kept{_other_gold(row, kept)}: {row.raw.text[:80]!r}…"
            )
            row.rejected = "near_duplicate", jaccard, threshold, evidence


def _other_gold(row: Row, kept: Row) -> str:
    return "" if kept.raw.gold == row.raw.gold else f"; its gold {row.raw.gold!r} differs from {kept.raw.gold!r}"


def _stop_at_copies(rows: list[Row], max_share: float) -> None:
    """Raise SourceError where more than this share of a source repeats other prompts."""
    sizes = Counter(row.source.name for row in rows)
    for name, count in Counter(row.source.name for row in rows if row.repeats).items():
        if count / sizes[name] > max_share:
            raise SourceError(
                f"source {name}: {count} of its {sizes[name]} rows ({count / sizes[name]:.0%}) repeat a prompt that is "
                f"already there, more than max_duplicate_share {max_share:.0%}; is the file a concatenation of copies? "
                "Remove them, or raise the share"
            )


def _prompt(row: Row) -> dict:
    raw, text = row.raw, row.raw.text.strip()
    return {
        "id": row_id("prompt", source=row.source.name, domain=raw.domain, text=text, gold=raw.gold),
        "source": row.source.name,
        "domain": raw.domain,
        "split": row.split,
        "text": text,
        "gold": raw.gold,
        "solution": raw.solution,
        "language": raw.language,
        "licence": row.source.licence,
        "origin": raw.origin,
        "meta": json.dumps(raw.meta, sort_keys=True, ensure_ascii=False) if raw.meta else None,
    }


def _decision(row: Row) -> dict:
    rule, value, threshold, evidence = row.rejected
    return {
        "row_id": row_id("row", source=row.source.name, origin=row.raw.origin), "stage": "prompts", "rule": rule,
        "value": value, "threshold": threshold, "keep": False, "evidence": f"{row.name}: {evidence}",
    }  # fmt: skip


def _facts(readings: list[Reading], rows: list[Row]) -> dict[str, dict]:
    """Counts by source for the metrics; a source of which nothing is left is an error."""
    facts = {}
    for reading in readings:
        mine = [row for row in rows if row.source is reading.source]
        kept = Counter(row.split for row in mine if row.rejected is None)
        dropped = Counter(row.rejected[0] for row in mine if row.rejected is not None)
        if not kept:
            raise SourceError(
                f"source {reading.source.name}: not one of its {len(mine)} rows became a prompt; "
                f"rejected: {dict(dropped)}"
            )
        facts[reading.source.name] = {
            "rows": len(mine),
            "kept": sum(kept.values()),
            **{split: kept[split] for split in ("train", "validation", "final")},
            "dropped": dict(sorted(dropped.items())),
            "licence": reading.source.licence,
            "sha256": reading.files,
        }
    return facts
