"""Results of reasoning-gym-eval: for each task a JSON file with questions and a model's completions, scored.

A record keeps the question and the expected answer, not the entry that the task's scorer reads: the entry is made anew
from the recorded task, seed and size. Where this release of the library makes other entries, one is made from question
and answer if the scorer needs no more; every other question is refused.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from tasks.prompts.formats.found import BadRow, Found, Output
from tasks.prompts.readers import SourceError, read_bytes

DOMAIN = "logic"
PROCEDURAL = True
COLUMNS = ("question", "expected_answer", "completions")


def records(files: list[tuple[Path, str]]) -> Iterator[tuple[str, dict]]:
    """(origin, result with its `task` and `entry`) of every results file; summaries are passed over."""
    for path, name in files:
        try:
            record = json.loads(read_bytes(path))
        except ValueError as error:
            raise SourceError(f"{name}: no valid JSON ({error})") from error
        if not isinstance(record, dict) or "results" not in record:
            continue
        entries = _entries(record)
        for number, result in enumerate(record["results"], 1):
            entry = entries.get(result["question"].strip())
            yield f"{name}#{number}", result | {"task": record["name"], "entry": entry}


def convert(row: dict) -> Found:
    if (entry := row["entry"]) is None:
        raise BadRow(
            "this release of reasoning-gym makes another entry for this seed, and its scorer needs the old one"
        )
    return Found(row["question"], entry["answer"], None, {"gym": row["task"], "entry": entry})


def outputs(row: dict) -> list[Output]:
    return [Output(c["full_model_response"] or "", settings={"score": c["score"]}) for c in row["completions"]]


def _entries(record: dict) -> dict[str, dict]:
    """Entries of the task by question."""
    import reasoning_gym

    dataset = reasoning_gym.create_dataset(record["name"], **record["config"])
    results = record["results"]
    made = [json.loads(json.dumps(dataset[i], default=str)) for i in range(len(results))]
    entries = {entry["question"].strip(): entry for entry in made}
    for result in results:
        if result["question"].strip() not in entries and result["expected_answer"]:
            entry = {"question": result["question"], "answer": result["expected_answer"], "metadata": {}}
            if _scores_itself(dataset, entry):
                entries[entry["question"].strip()] = entry
    return entries


def _scores_itself(dataset, entry: dict) -> bool:
    """The scorer reads the gold and a wrong answer of the same kind without asking for metadata."""
    try:
        wrong = dataset.score_answer(answer=entry["answer"] + "0", entry=entry)
        return dataset.score_answer(answer=entry["answer"], entry=entry) == 1.0 and wrong < 1.0
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return False
