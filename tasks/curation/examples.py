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


def with_generator_solutions(examples: list[dict], prompts: list[dict]) -> tuple[list[dict], int]:
    """The same rows with sampled responses exchanged for the generator's own solutions, and how many had none.

    Rows that are no sampled completion (non-reasoning data) stay as they are. A prompt whose source gives no
    solution is left out: the teacher's response would teach the control what it is there to do without.
    """
    by_id = {p["id"]: p for p in prompts}
    sampled = [row for row in examples if row["completion_id"] is not None]
    known = [by_id[row["prompt_id"]] for row in sampled if row["prompt_id"] in by_id]  # imported prompts are not in the bank
    solved = [prompt for prompt in known if prompt["solution"]]
    own = [row for row in examples if row["completion_id"] is None]
    return [example(p, p["solution"]) for p in solved] + own, len(sampled) - len(solved)
