"""SFT examples: read back, or with their chains of thought exchanged for the generator's."""

from pathlib import Path

from tasks.provenance.artifacts import read_rows
from tasks.rows import SFT_EXAMPLE, row_id


def example(prompt: dict, response: str, completion_id: str | None = None, origin: str | None = None) -> dict:
    """An SFT_EXAMPLE row that answers a PROMPT row."""
    return {
        "id": row_id("example", prompt=prompt["id"], completion=completion_id, response=response),
        "prompt_id": prompt["id"],
        "completion_id": completion_id,
        "source": prompt["source"],
        "domain": prompt["domain"],
        "prompt": prompt["text"],
        "response": response,
        "origin": origin or prompt["origin"],
    }


def read_examples(folder: Path) -> list[dict]:
    """SFT_EXAMPLE rows of a published set."""
    return read_rows(folder, "examples", SFT_EXAMPLE)


def with_generator_solutions(examples: list[dict], prompts: list[dict]) -> list[dict]:
    """As many rows on the same prompts, sampled responses exchanged for the generator's own solutions.

    Rows that are no sampled completion (non-reasoning data) stay as they are. A prompt without a solution is an
    error: the control would be trained on less than the student it is compared with.
    """
    by_id = {p["id"]: p for p in prompts}
    out = []
    for row in examples:
        if row["completion_id"] is None:
            out.append(row)
            continue
        prompt = by_id[row["prompt_id"]]
        if not prompt["solution"]:
            raise ValueError(f"prompt {prompt['id']} of source {prompt['source']} has no solution: it cannot be in a control")
        out.append(example(prompt, prompt["solution"]))
    return out
