"""The prompt bank: raw rows of all sources become prompts, or rejections with a rule, a value and a threshold.

Every row ends as kept or rejected. Rules, in the order they are applied to a row: its columns (`*_type`,
`gold_pattern`, `language`), `empty_text`, `prompt_tokens`, `gold` (missing, or its verifier cannot use it),
`duplicate`. A prompt that stands in several splits stays in the final one: no training prompt equals a final one.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tasks.prompts.columns import RawRow
from tasks.prompts.readers import SourceError
from tasks.prompts.sources import NEEDS_GOLD, Reading
from tasks.prompts.split import split_of
from tasks.rows import row_id

_TOKEN = re.compile(r"[A-Za-z]{1,6}|\d{1,3}|[^\sA-Za-z\d]")

GoldCheck = Callable[[list[dict]], list[str | None]]  # rows with domain, gold, meta -> None or what is wrong


@dataclass
class Bank:
    """What became of the rows: `rows` in the order of the sources, `decisions` on the rejected ones."""

    rows: list[dict]
    decisions: list[dict]
    sources: dict[str, dict]


def estimate_tokens(text: str) -> int:
    """An estimate without any tokenizer: letters by six, digits by three, every other sign for itself.

    The bank does not depend on the base model; on English and LaTeX this is near or above what byte-pair
    vocabularies need. What the model truly reads is checked again where prompts are rendered.
    """
    return len(_TOKEN.findall(text))


def fold(text: str) -> str:
    """White space folded: what makes two prompts the same."""
    return " ".join(text.split())


def build(
    readings: list[Reading],
    check_golds: GoldCheck,
    validation_share: float,
    final_share: float,
    max_prompt_tokens: int,
    max_duplicate_share: float,
    count_tokens: Callable[[str], int] = estimate_tokens,
) -> Bank:
    """The bank of all sources; raises SourceError where a source consists of duplicates or nothing of it is left."""
    rows = [(reading.source.name, raw) for reading in readings for raw in reading.rows]
    licences = {r.source.name: r.source.licence for r in readings}
    forced = {r.source.name: None if r.source.split == "by-hash" else r.source.split for r in readings}
    verdicts = [_reject(raw, count_tokens, max_prompt_tokens) for _, raw in rows]
    _check_golds(rows, verdicts, check_golds)
    splits = [forced[name] or split_of(fold(raw.text), validation_share, final_share) for name, raw in rows]
    _drop_duplicates(rows, verdicts, splits, max_duplicate_share)
    kept, decisions = [], []
    for (name, raw), rejected, split in zip(rows, verdicts, splits):
        if rejected is None:
            kept.append(_prompt(name, licences[name], raw, split))
        else:
            rule, value, threshold, evidence = rejected
            decisions.append(
                {"row_id": row_id("row", source=name, origin=raw.origin), "stage": "prompts", "rule": rule, "value": value,
                 "threshold": threshold, "keep": False, "evidence": f"{name} {raw.origin}: {evidence}"}
            )  # fmt: skip
    if len(kept) + len(decisions) != len(rows):
        raise AssertionError(f"{len(rows)} rows in, {len(kept)} kept + {len(decisions)} rejected")
    return Bank(kept, decisions, _facts(readings, rows, verdicts, splits))


Rejection = tuple[str, float | None, float | None, str]  # rule, value, threshold, evidence


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


def _check_golds(rows: list[tuple[str, RawRow]], verdicts: list[Rejection | None], check: GoldCheck) -> None:
    open_rows = [i for i, verdict in enumerate(verdicts) if verdict is None]
    asked = [
        {"domain": raw.domain, "gold": raw.gold, "meta": json.dumps(raw.meta)}
        for raw in (rows[i][1] for i in open_rows)
    ]
    for i, problem in zip(open_rows, check(asked), strict=True):
        if problem:
            verdicts[i] = ("gold", 0.0, 1.0, f"gold {rows[i][1].gold!r}: {problem}")


def _drop_duplicates(rows: list, verdicts: list[Rejection | None], splits: list[str], max_share: float) -> None:
    """Keep the first of equal prompts, one in the final split before others; count rows of a source that are a repeat."""
    order = sorted(range(len(rows)), key=lambda i: (splits[i] != "final", i))
    first: dict[str, int] = {}
    repeats: Counter[str] = Counter()
    sizes: Counter[str] = Counter(name for name, _ in rows)
    for i in order:
        if verdicts[i] is not None:
            continue
        name, raw = rows[i]
        kept = first.setdefault(fold(raw.text), i)
        if kept != i:
            repeats[name] += 1
            other = rows[kept]
            gold = "" if other[1].gold == raw.gold else f"; its gold {raw.gold!r} differs from {other[1].gold!r}"
            verdicts[i] = ("duplicate", 1.0, 0.0, f"same text as {other[0]} {other[1].origin}, which is kept{gold}")
    for name, count in repeats.items():
        if count / sizes[name] > max_share:
            raise SourceError(
                f"source {name}: {count} of its {sizes[name]} rows ({count / sizes[name]:.0%}) repeat a prompt that is "
                f"already there, more than max_duplicate_share {max_share:.0%}; is the file a concatenation of copies? "
                "Remove them, or raise the share"
            )


def _prompt(source: str, licence: str, raw: RawRow, split: str) -> dict:
    text = raw.text.strip()
    return {
        "id": row_id("prompt", source=source, domain=raw.domain, text=text, gold=raw.gold),
        "source": source,
        "domain": raw.domain,
        "split": split,
        "text": text,
        "gold": raw.gold,
        "solution": raw.solution,
        "language": raw.language,
        "licence": licence,
        "origin": raw.origin,
        "meta": json.dumps(raw.meta, sort_keys=True, ensure_ascii=False) if raw.meta else None,
    }


def _facts(readings: list[Reading], rows: list, verdicts: list, splits: list[str]) -> dict[str, dict]:
    """Counts by source for the metrics; a source of which nothing is left is an error."""
    facts = {}
    for reading in readings:
        name = reading.source.name
        mine = [(v, s) for (n, _), v, s in zip(rows, verdicts, splits) if n == name]
        kept = Counter(s for v, s in mine if v is None)
        dropped = Counter(v[0] for v, _ in mine if v is not None)
        if not kept:
            raise SourceError(
                f"source {name}: not one of its {len(mine)} rows became a prompt; rejected: {dict(dropped)}"
            )
        facts[name] = {
            "rows": len(mine),
            "kept": sum(kept.values()),
            **{split: kept[split] for split in ("train", "validation", "final")},
            "dropped": dict(sorted(dropped.items())),
            "licence": reading.source.licence,
            "sha256": reading.files,
        }
    return facts
