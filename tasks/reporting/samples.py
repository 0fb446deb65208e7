"""A few rows of what a stage made, as Markdown that people read: completions with prompt and verdict, pairs, examples.

Rows are spread over the table and looked up by id; whole tables are never read (DuckDB over Parquet).
"""

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence

from tasks.provenance.tables import Table

ROWS = 6  # shown of a table
TEXT = 1500  # characters shown of a text
WIDTH = 92  # characters of a line
PROBES = ("forced_samples",)  # of an evaluation: answers under a forced beginning


def sample_rows(made: Sequence[Table], read: Sequence[Table] = ()) -> tuple[str, str] | None:
    """(what it is, Markdown) of the most telling table among `made`; prompts and verdicts may also lie in `read`.

    None where there is nothing to show. ArtifactError or an error of DuckDB's where a file is damaged.
    """
    for kind, show in _KINDS.items():
        own = [t for t in made if t.kind == kind and t.rows]
        table = max(own, key=lambda t: (t.name not in PROBES, t.rows), default=None)
        if table:
            blocks = show(spread(table), _Known([*made, *read]))
            said = f"{len(blocks)} of {table.rows:,} rows of {table.artifact.name}/{table.name}"
            return said, "\n".join(blocks)
    return None


def rollouts(rows: Sequence[Mapping]) -> str:
    """Completions of one prompt with what they were rewarded for (tasks/progress.py), in the order given."""
    blocks = []
    for i, row in enumerate(rows):
        facts = [f"{name} {said(value)}" for name, value in row.items() if name not in ("prompt", "completion")]
        prompt = row["prompt"] if i == 0 or row["prompt"] != rows[i - 1]["prompt"] else None
        blocks.append(_block(facts, prompt=prompt, completion=row["completion"]))
    return "\n".join(blocks)


def said(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def spread(table: Table) -> list[dict]:
    """ROWS rows, or all there are, from all over the file; at most one row group is read for each."""
    import pyarrow.parquet as pq

    wanted = {(2 * i + 1) * table.rows // (2 * ROWS) for i in range(ROWS)}
    rows, start = [], 0
    with pq.ParquetFile(table.file) as file:
        for group in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if inside := sorted(at - start for at in wanted if start <= at < start + size):
                rows += file.read_row_group(group).take(inside).to_pylist()
            start += size
    return rows


class _Known:
    """Rows of other tables by their ids."""

    def __init__(self, tables: Sequence[Table]):
        self._tables = tables

    def find(self, kind: str, key: str, ids: Sequence[str]) -> dict[str, dict]:
        """id -> row of the first table of this kind that has it."""
        import duckdb

        found: dict[str, dict] = {}
        with duckdb.connect(config={"threads": 1}) as con:
            for table in (t for t in self._tables if t.kind == kind and t.rows):
                if missing := sorted(set(ids) - set(found)):
                    asked = f"select * from read_parquet(?) where {key} in (select unnest(?::varchar[]))"
                    got = con.execute(asked, [str(table.file), missing])
                    names = [column[0] for column in got.description]
                    rows = [dict(zip(names, row, strict=True)) for row in got.fetchall()]
                    found |= {row[key]: row for row in rows}
        return found


def _completions(rows: list[dict], known: _Known) -> list[str]:
    prompts = known.find("prompt", "id", [r["prompt_id"] for r in rows])
    verdicts = known.find("verdict", "completion_id", [r["id"] for r in rows])
    blocks = []
    for r in rows:
        prompt, verdict = prompts.get(r["prompt_id"], {}), verdicts.get(r["id"])
        facts = [verdict["status"], f"extracted {_code(verdict['extracted'])}"] if verdict else []
        facts += [f"gold {_code(prompt['gold'])}"] if prompt.get("gold") else []
        facts += [f"{r['tokens']} tokens, {r['finish']}", _code(r["id"])]
        blocks.append(_block(facts, prompt=prompt.get("text"), completion=r["text"]))
    return blocks


def _verdicts(rows: list[dict], known: _Known) -> list[str]:
    completions = known.find("completion", "id", [r["completion_id"] for r in rows])
    prompts = known.find("prompt", "id", [r["prompt_id"] for r in rows])
    blocks = []
    for r in rows:
        facts = [r["status"], f"extracted {_code(r['extracted'])}", f"gold {_code(r['gold'])}", r["method"]]
        texts = {"prompt": prompts.get(r["prompt_id"], {}), "completion": completions.get(r["completion_id"], {})}
        blocks.append(_block([*facts, _code(r["completion_id"])], **{k: v.get("text") for k, v in texts.items()}))
    return blocks


def _pairs(rows: list[dict], known: _Known) -> list[str]:
    return [
        _block(
            [f"rejected: {r['fault']}", f"by {_code(r['labelled_by'])}", _code(r["id"])],
            **{side: r[side] for side in ("prompt", "chosen", "rejected")},
        )
        for r in rows
    ]


def _examples(rows: list[dict], known: _Known) -> list[str]:
    return [
        _block([_code(r["source"]), r["domain"], _code(r["id"])], prompt=r["prompt"], response=r["response"])
        for r in rows
    ]


def _prompts(rows: list[dict], known: _Known) -> list[str]:
    facts = ("source", "licence", "origin", "id")
    return [_block([_code(r[f]) for f in facts], prompt=r["text"], gold=r["gold"]) for r in rows]


# What tells most comes first: a set shows its examples, not the candidates that they were chosen from.
_KINDS: dict[str, Callable[[list[dict], _Known], list[str]]] = {
    "sft_example": _examples,
    "completion": _completions,
    "verdict": _verdicts,
    "preference_pair": _pairs,
    "prompt": _prompts,
}


def _block(facts: Sequence[str], **texts: str | None) -> str:
    """A line of facts, then each text in a fence longer than any in it: what a model wrote is never markup."""
    parts = [" · ".join(facts), ""]
    for name, text in texts.items():
        if text is not None:
            cut = text if len(text) <= TEXT else f"{text[:TEXT]} … and {len(text) - TEXT:,} characters more"
            cut = "\n".join(piece for line in cut.split("\n") for piece in _folded(line))
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", cut)), default=0))
            parts += [f"*{name}*", "", f"{fence}text", cut, fence, ""]
    return "\n".join([*parts, "---", ""])


def _folded(line: str) -> list[str]:
    """A line broken at spaces into lines that need no scrolling; no character is lost."""
    keep = {"drop_whitespace": False, "replace_whitespace": False, "expand_tabs": False, "break_on_hyphens": False}
    return textwrap.wrap(line, WIDTH, **keep) or [""]


def _code(text: str | None) -> str:
    """A value of a row within a line: never markup, never longer than a line."""
    return "–" if text is None else "`" + " ".join(str(text).replace("`", "'").split())[:200] + "`"
