"""The chain of one row: the prompt and its source, its siblings, who sampled it how, what was said and decided about it,
what it repeats, and in which sets and checkpoints it ended.

Everything is read from the tables themselves: rows know their prompt and their completion, decisions and verdicts their
row. Rows that were rejected, and prompts that never became one, have a chain like the others.
"""

import json
import re

from tasks.provenance.books import OWNERS, Books, resolve
from tasks.provenance.fate import fate
from tasks.provenance.row_index import KEPT_NAME
from tasks.provenance.tables import SCHEMAS, Table

CONTAMINATION = ("prompt_exact", "prompt_ngram", "text_coverage")
IN_A_SET = ["id", "prompt_id", "completion_id", "origin", "split"]  # of a row of a set: its texts take longest to read


def chain(books: Books, given: str) -> dict:
    """Everything about one row; keys as in docs/lineage.md. Raises UnknownRow.

    `decisive`: the first rule that rejected it, None where none did; lists are empty and rows None where there is none.
    """
    id = resolve(books, given)
    own = next(books.rows("id", id, *OWNERS), None)
    kind = own[0].kind if own else _kind_elsewhere(books, id)
    row = own[1] if own else None
    completion_id = {"completion": id, "sft_example": (row or {}).get("completion_id")}.get(kind)
    note = _annotation(books, id, row)
    sampled = own if kind == "completion" else next(books.rows("id", completion_id, "completion"), None)
    prompt_id = id if kind == "prompt" else (row or note or {}).get("prompt_id")
    examples = _examples(books, kind, id, completion_id, note)
    prompt_id = prompt_id or next((e["prompt_id"] for _, e in examples), None)
    made_into = (
        [] if kind == "prompt" else [e["id"] for _, e in examples]
    )  # what is said of one example is not of its prompt
    decided = [completion_id, note and note["row_id"], *made_into, id]
    if kind in ("prompt", "sft_example") and completion_id is None and note is None:
        decided.append(prompt_id)
    decisions = [d for key in dict.fromkeys(decided) for d in _decisions(books, key)]
    sets = _sets(books, examples, kind, prompt_id, own)
    prompt = _prompt(books, prompt_id) if prompt_id else None
    found = {
        "id": id, "kind": kind, "where": _where(books, own, id), "row": row,
        "decisive": next((d for d in decisions if not d["keep"]), None),
        "prompt": prompt, "dropped_repeats": _dropped_repeats(books, prompt),
        "completion": _completion(books, sampled), "annotation": note,
        **_said(books, completion_id),
        "siblings": _siblings(books, sampled),
        "samples": _samples(books, id) if kind == "prompt" else [],
        "decisions": decisions,
        "duplicate_of": _duplicates(books, "id", "kept_id", completion_id),
        "duplicates": _duplicates(books, "kept_id", "id", completion_id),
        "repeats": _repeated_prompt(books, decisions) if kind == "dropped_prompt" else None,
        "contamination": [d for d in decisions if d["stage"] == "decontamination" or d["rule"] in CONTAMINATION],
        "sets": sets, "checkpoints": _checkpoints(books, sets, prompt, kind),
    }  # fmt: skip
    ended, asked = [s["artifact"] for s in sets], len(found["samples"])
    return found | {"fate": fate(kind, found["decisive"], ended, prompt, bool(decisions), asked)}


def _kind_elsewhere(books: Books, id: str) -> str:
    """Of an id that no row has as its own: it was dropped before it became one, or a person wrote the row."""
    if next(books.rows("completion_id", id), None):
        return "completion"
    table, decision = next(books.rows("row_id", id, "decision"), (None, None))
    if decision and decision["stage"] == "prompts":
        return "dropped_prompt"
    if decision is None or id.startswith(("completion_", "annotation_")):  # reviewed after the stage ran
        return id.partition("_")[0]
    return f"dropped by {table.stage}"


def _where(books: Books, own: tuple[Table, dict] | None, id: str) -> list[str]:
    kinds = (own[0].kind,) if own else ("decision",)
    found = books.rows("id" if own else "row_id", id, *kinds, columns=["id" if own else "row_id"])
    return list(dict.fromkeys(f"{books.name(t.artifact)}/{t.name}" for t, _ in found))


def _examples(
    books: Books, kind: str, id: str, completion_id: str | None, note: dict | None
) -> list[tuple[Table, dict]]:
    """The SFT examples that the row is, or was made into."""
    if kind == "annotation":
        origin = f"annotation/{note['annotator']}/{note['id']}" if note else None
        return [
            hit
            for hit in books.rows("prompt_id", (note or {}).get("prompt_id"), "sft_example", columns=IN_A_SET)
            if hit[1]["origin"] == origin
        ]
    by = {"sft_example": ("id", id), "prompt": ("prompt_id", id)}.get(kind, ("completion_id", completion_id or id))
    found = list(books.rows(*by, "sft_example", columns=IN_A_SET))
    return sorted(found, key=lambda hit: str(hit[0].file))


def _decisions(books: Books, id: str | None) -> list[dict]:
    """Every rule on one id in the order in which they were applied."""
    found = sorted(books.rows("row_id", id, "decision"), key=lambda hit: str(hit[0].file))
    return [row | {"artifact": books.name(table.artifact)} for table, row in found]


def _prompt(books: Books, id: str) -> dict | None:
    """The PROMPT row, in which tables it stands, and its source as params.yaml describes it."""
    table, row = next(books.rows("id", id, "prompt"), (None, None))
    if row is None:
        return None
    entries = (
        e
        for part in books.sections(books.name(table.artifact))
        for e in part.get("sources", []) + part.get("imported", [])
    )
    entry = next((e for e in entries if isinstance(e, dict) and e.get("name") == row["source"]), None)
    hits = books.rows("id", id, "prompt", columns=["id"])
    places = list(dict.fromkeys(f"{books.name(t.artifact)}/{t.name}" for t, _ in hits))
    return row | {
        "meta": _json(row["meta"]),
        "tables": places,
        "source_entry": entry,
        "source_files": _sums(books, row["source"]),
    }


def _sums(books: Books, source: str) -> dict[str, str]:
    """Path -> sha256 of the files that the source was read from, as the metrics of `prompts` have them."""
    try:
        metrics = json.loads((books.root / "metrics" / "prompts.json").read_text(encoding="utf-8"))
        return metrics["sources"][source]["sha256"]
    except (OSError, ValueError, KeyError):
        return {}


def _json(text: str | None):
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _dropped_repeats(books: Books, prompt: dict | None) -> list[dict]:
    """Rows of the sources that were dropped because they repeat this prompt."""
    if prompt is None:
        return []
    name = f"{prompt['source']} {prompt['origin']}"
    return [d for _, d in books.rows("kept_name", name, "decision") if f" {name}, which is kept" in d["evidence"]]


def _repeated_prompt(books: Books, decisions: list[dict]) -> dict | None:
    """The prompt that was kept in place of a dropped one."""
    names = (re.search(KEPT_NAME, d["evidence"] or "") for d in decisions if not d["keep"])
    for name in (m["name"] for m in names if m):
        for _, row in books.rows("name", name, "prompt"):
            if f"{row['source']} {row['origin']}" == name:
                return row
    return None


def _completion(books: Books, sampled: tuple[Table, dict] | None) -> dict | None:
    """The COMPLETION row with its settings read and the checkpoint that made it."""
    if sampled is None:
        return None
    table, row = sampled
    checkpoint, stage = books.checkpoints.get(row["model"], (None, None))
    return row | {
        "settings": _json(row["settings"]), "checkpoint": checkpoint, "checkpoint_stage": stage,
        "table": f"{books.name(table.artifact)}/{table.name}", "sampled_by": table.stage,
    }  # fmt: skip


def _annotation(books: Books, id: str, row: dict | None) -> dict | None:
    """What a person said of the response, with the file and the line where it is written."""
    origin = (row or {}).get("origin") or ""
    if not id.startswith("annotation_") and not origin.startswith("annotation/"):
        return None
    of = lambda a: f"annotation/{a['annotator']}/{a['id']}"
    return next((a for a in books.annotations if a["row_id"] == id or of(a) == origin), None)


def _said(books: Books, id: str | None) -> dict:
    """The verdict on a completion, and what judge and rules said each where the judge decided."""
    verdict = next(books.rows("completion_id", id, "verdict"), None)
    judged = next(books.rows("completion_id", id, "other", having="judge"), None)
    return {
        "verdict": verdict and verdict[1] | {"artifact": books.name(verdict[0].artifact)},
        "judge": judged and judged[1] | {"artifact": books.name(judged[0].artifact)},
    }


def _siblings(books: Books, sampled: tuple[Table, dict] | None) -> list[dict]:
    """The other completions that were drawn with it: same prompt, checkpoint and settings, in the same table."""
    if sampled is None:
        return []
    table, row = sampled
    rows = [r for t, r in books.rows("prompt_id", row["prompt_id"], "completion") if t is table]
    same = [r for r in rows if (r["model"], r["settings"]) == (row["model"], row["settings"]) and r["id"] != row["id"]]
    if row["engine"] == "imported":  # its settings say where each stood
        same = [r for r in rows if r["id"] != row["id"]]
    return [_brief(books, r) | {"text": r["text"]} for r in sorted(same, key=lambda r: r["index"])]


def _samples(books: Books, prompt_id: str) -> list[dict]:
    """Every completion of a prompt, wherever it was sampled."""
    wanted = [n for n in SCHEMAS["completion"].names if n != "text"]
    made_by = lambda r: books.checkpoints.get(r["model"], (None,))[0]
    return [
        _brief(books, r) | {"table": f"{books.name(t.artifact)}/{t.name}", "checkpoint": made_by(r)}
        for t, r in books.rows("prompt_id", prompt_id, "completion", columns=wanted)
    ]


def _brief(books: Books, row: dict) -> dict:
    """A completion in a line: its verdict, and what came of it."""
    verdict = next(
        books.rows("completion_id", row["id"], "verdict", columns=["completion_id", "status", "extracted"]), None
    )
    said = {name: verdict[1][name] if verdict else None for name in ("status", "extracted")}
    return {name: row[name] for name in ("id", "index", "tokens", "finish")} | said | _outcome(books, row["id"])


def _outcome(books: Books, id: str) -> dict:
    """kept (None where no rule decided on it), stage and rule of the first reason."""
    for _, row in books.rows("id", id, "other", having="kept", columns=["id", "kept", "stage", "rule"]):
        return {name: row[name] for name in ("kept", "stage", "rule")}
    decisions = _decisions(books, id)
    failed = next((d for d in decisions if not d["keep"]), None)
    first = {name: failed[name] if failed else None for name in ("stage", "rule")}
    return {"kept": failed is None if decisions else None} | first


def _duplicates(books: Books, mine: str, theirs: str, id: str | None) -> list[dict]:
    """Near duplicates of a completion (`mine` is its column) with what came of the other row."""
    found = [row for _, row in books.rows(mine, id, "other", having="kept_id")]
    outcomes = {other: _outcome(books, other) for other in dict.fromkeys(row[theirs] for row in found)}
    return [
        {name: row[name] for name in ("kind", "scope", "jaccard")} | {"id": row[theirs]} | outcomes[row[theirs]]
        for row in found
    ]


def _sets(books: Books, examples: list[tuple[Table, dict]], kind: str, prompt_id: str | None, own) -> list[dict]:
    """The sets in which the row ended: where, as which row, in which split."""
    hits = list(examples)
    if kind in ("preference_pair", "safety_label"):
        hits += books.rows("id", own[1]["id"], kind, columns=IN_A_SET)
    elif kind == "prompt":
        hits += books.rows("prompt_id", prompt_id, "preference_pair", "safety_label", columns=IN_A_SET)
    return [
        {
            "artifact": books.name(t.artifact), "table": t.name, "stage": t.stage, "kind": t.kind, "id": r["id"],
            "split": r.get("split"), "origin": r.get("origin"),
        }
        for t, r in hits
    ]  # fmt: skip


def _checkpoints(books: Books, sets: list[dict], prompt: dict | None, kind: str) -> list[dict]:
    """Checkpoints trained on one of the sets or, by RL, on the prompt; then those that go on from one of these."""
    found: dict[str, str] = {}
    for artifact in dict.fromkeys(s["artifact"] for s in sets if s["split"] in (None, "train")):
        for made in filter(books.is_checkpoint, books.readers.get(artifact, ())):
            how = "SFT" if any(s["kind"] == "sft_example" for s in sets if s["artifact"] == artifact) else "trained"
            own = any(part.get("data") == "generator" for part in books.sections(made))
            found.setdefault(made, f"{how} on {artifact}" + (", with the source's solution as response" if own else ""))
    if kind == "prompt" and prompt and prompt["split"] == "train":
        bank = prompt["tables"][0].rpartition("/")[0]
        for made in filter(books.is_checkpoint, books.readers.get(bank, ())):
            if any(
                prompt["source"] in part.get(k, ())
                for part in books.sections(made)
                for k in ("sources", "general_sources")
            ):
                found.setdefault(made, f"RL draws from source {prompt['source']}")
    for artifact in (todo := list(found)):
        for made in filter(books.is_checkpoint, books.readers.get(artifact, ())):
            if made not in found:
                found[made] = f"made from {artifact}"
                todo.append(made)
    return [{"artifact": a, "stage": books.manifests[a].get("stage"), "how": how} for a, how in found.items()]
