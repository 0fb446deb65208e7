"""The reasons beside rows: for a batch of rows of any sets, what was sampled, said and decided, in a pass over each table.

One row's whole story, its siblings included, is `r1 why` (tasks/provenance/chain.py). Here a page or a sample of rows is
asked for at once: each table is read once for all of them, and only the columns of ids until a row is found.
"""

import threading
from collections.abc import Iterable

from tasks.provenance.audit.books import Books, connect, read, unreadable
from tasks.provenance.fate import fate
from tasks.provenance.tables import Kind, Table

DECISION = ("stage", "rule", "value", "threshold", "keep", "evidence")
PROMPT = ("source", "domain", "split", "licence", "origin", "text", "gold")
COMPLETION = ("model", "engine", "settings", "index", "tokens", "finish")
VERDICT = ("status", "extracted", "gold", "method", "verifier")
DUPLICATE = ("kept_id", "kind", "scope", "jaccard")
EXAMPLE = ("id", "completion_id")


class Reasons:
    """Answers for batches of rows; one batch at a time."""

    def __init__(self, books: Books):
        self.books, self.db, self.lock = books, connect(), threading.Lock()
        self.duplicates = [t for t in books.of("other") if {"id", "kept_id", "jaccard"} <= t.columns.keys()]
        self.checkpoints = {sha: path for path, sha in books.weights.items()}

    def of(self, rows: list[tuple[Kind, dict]]) -> list[dict]:
        """What is known of each (kind, row), in order: prompt, completion, verdict, decisions, duplicate_of, sets, checkpoints, fate."""
        completions = [_completion_of(kind, row) for kind, row in rows]
        prompts = [row["id"] if kind == "prompt" else row["prompt_id"] for kind, row in rows]
        decided = [{row["id"], c or p} for (_, row), c, p in zip(rows, completions, prompts, strict=True)]
        with self.lock:
            known = self._find("prompt", "id", prompts, PROMPT)
            sampled = self._find("completion", "id", completions, COMPLETION)
            said = self._find("verdict", "completion_id", completions, VERDICT)
            rules = self._find("decision", "row_id", {id for ids in decided for id in ids}, DECISION)
            copies = self._find(self.duplicates, "id", completions, DUPLICATE)
            own = self._find("sft_example", "id", [row["id"] for _, row in rows], EXAMPLE)
            made = self._find("sft_example", "completion_id", completions, EXAMPLE)
        return [
            self._one(kind, row, known.get(p, []), sampled.get(c, []), said.get(c, []),
                      [d for id in sorted(ids) for d in rules.get(id, [])], copies.get(c, []),
                      [*own.get(row["id"], []), *made.get(c, [])])
            for (kind, row), c, p, ids in zip(rows, completions, prompts, decided, strict=True)
        ]  # fmt: skip

    def _find(self, of: Kind | list[Table], key: str, ids: Iterable[str | None], columns: tuple[str, ...]) -> dict[str, list[dict]]:  # fmt: skip
        """id -> rows that have it in `key`, with these columns and `table`, the artifact they stand in."""
        tables, wanted = self.books.of(of) if isinstance(of, str) else of, sorted({id for id in ids if id})
        if not tables or not wanted:
            return {}
        import pyarrow as pa

        self.db.register("asked", pa.table({"asked_id": wanted}))
        names, artifacts = ", ".join(f'"{c}"' for c in dict.fromkeys(columns)), {str(t.file): self.books.shown(t.artifact) for t in tables}  # fmt: skip
        made: dict[str, list[dict]] = {}
        for row in self._asked(tables, key, names):
            row["table"] = artifacts[row.pop("filename")]
            made.setdefault(row.pop("asked_id"), []).append(row)
        self.db.unregister("asked")
        return made

    def _asked(self, tables: list[Table], key: str, names: str) -> list[dict]:
        """The rows that were asked for; of tables of which one is damaged, those of the others."""
        query = f"SELECT {key} AS asked_id, filename, {names} FROM {read(tables)} WHERE {key} IN (SELECT asked_id FROM asked)"  # fmt: skip
        try:
            return self.db.sql(query).to_arrow_table().to_pylist()
        except unreadable():
            return [row for table in tables for row in self._asked([table], key, names)] if len(tables) > 1 else []

    def _one(self, kind, row, prompts, completions, verdicts, decisions, copies, examples) -> dict:
        sets = sorted({e["table"] for e in examples}) if kind in ("completion", "sft_example") else []
        completion = completions[0] if completions else None
        found = {
            "prompt": prompts[0] if prompts else None,
            "completion": completion and completion | {"checkpoint": self.checkpoints.get(completion["model"])},
            "verdict": verdicts[0] if verdicts else None,
            "decisions": decisions,
            "duplicate_of": copies,
            "sets": sets,
            "checkpoints": self._learners(sets),
        }  # fmt: skip
        failed = next((d | {"artifact": d["table"]} for d in decisions if not d["keep"]), None)
        told = fate(kind, failed, sets, found["prompt"], bool(decisions))
        return found | {"fate": told, "kept": failed is None}

    def _learners(self, sets: list[str]) -> list[str]:
        """Checkpoints whose stage reads one of these sets."""
        stages = [s for s in self.books.stages.values() if s.inputs.keys() & set(sets)]
        return [path for path in self.books.weights if any(path == o or path.startswith(f"{o}/") for s in stages for o in s.outs)]  # fmt: skip


def _completion_of(kind: Kind, row: dict) -> str | None:
    return row["id"] if kind == "completion" else row.get("completion_id")
