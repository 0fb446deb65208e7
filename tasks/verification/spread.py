"""Verification on many machines: shards of rows as files, each decided wherever there is room.

A verdict depends on its own row alone, so the shards are laid out for the work and not for the result; only a limit
that fires on a slower machine (`timeout`) can differ, as it can between two runs on one.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path

from tasks.execution import Execution, unique
from tasks.verification.verdict import Verdict
from tasks.verification.verify import gold_problems, require, verifier_version, verify_all

ROWS = 2048  # of a shard


def verify_on(
    execution: Execution,
    prompts: list[dict],
    texts: list[str | None],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[Verdict]:
    """`verify_all` wherever `execution` says; `folder` is one that all its machines see, for the shards."""
    if not execution.remote:
        return verify_all(prompts, texts, progress)
    if len(prompts) != len(texts):
        raise ValueError(f"{len(prompts)} prompts for {len(texts)} responses")
    require(prompt["domain"] for prompt in prompts)
    out: list[Verdict] = []
    for answer in _answers(execution, "verdicts", [[p, t] for p, t in zip(prompts, texts, strict=True)], folder):
        out += [Verdict(*fields) for fields in answer]
        if progress:
            progress(len(out), len(prompts))
    return out


def gold_problems_on(execution: Execution, rows: list[dict], folder: Path) -> list[str | None]:
    """`gold_problems` wherever `execution` says."""
    if not execution.remote:
        return gold_problems(rows)
    return [problem for answer in _answers(execution, "golds", rows, folder) for problem in answer]


def _answers(execution: Execution, kind: str, rows: list, folder: Path) -> Iterator[list]:
    """The answers to shards of rows, in order; shards that an earlier run has finished are read."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = []
    for start in range(0, len(rows), ROWS):
        blob = json.dumps(rows[start : start + ROWS])
        what = hashlib.sha256(f"{verifier_version()}\n{start}\n{blob}".encode()).hexdigest()[:32]
        asked.append(folder / f"{kind}-{what}.asked.json")
        _write(asked[-1], blob)
    for answer in execution.map(decide, [kind] * len(asked), asked, [execution.threads] * len(asked)):
        yield json.loads(answer.read_bytes())


def decide(kind: str, asked: Path, processes: int) -> Path:
    """On any machine: the file with the answers to the rows in the file `asked`; one that is there is not made again.

    kind: "verdicts" of [prompt, text] rows, or "golds" of PROMPT rows. processes: worker processes for it.
    """
    answer = asked.with_name(asked.name.replace(".asked.", ".answers."))
    if not answer.is_file():
        rows = json.loads(asked.read_bytes())
        if kind == "golds":
            found = gold_problems(rows, processes)
        else:
            found = [astuple(v) for v in verify_all([p for p, _ in rows], [t for _, t in rows], processes=processes)]
        _write(answer, json.dumps(found))
    return answer


def _write(path: Path, text: str) -> None:
    """All of the file or nothing, whoever writes it at the same time."""
    temporary = unique(path)
    temporary.write_text(text, encoding="ascii")  # JSON escapes what UTF-8 cannot hold
    temporary.rename(path)
