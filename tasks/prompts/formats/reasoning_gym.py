"""Entries of the reasoning-gym library, written out as it makes them: `question`, `answer`, `metadata`.

The task is named in `metadata.source_dataset` (or in a column `task`), and its own scorer verifies the answer.
"""

from tasks.prompts.formats.found import BadRow, Found, parsed, text_of

DOMAIN = "logic"
PROCEDURAL = True
COLUMNS = ("question", "answer", "metadata")


def convert(row: dict) -> Found:
    metadata = parsed(row["metadata"])
    task = row.get("task") or metadata.get("source_dataset")
    if not isinstance(task, str):
        raise BadRow("neither metadata.source_dataset nor task names the reasoning-gym task")
    answer = row["answer"]
    entry = {"question": text_of(row, "question"), "answer": answer, "metadata": metadata}
    return Found(entry["question"], answer, None, {"gym": task, "entry": entry})
