"""Reading a published prompt bank back."""

from pathlib import Path

from tasks.provenance.artifacts import read_rows
from tasks.rows import PROMPT


def read_prompts(folder: Path, *splits: str) -> list[dict]:
    """PROMPT rows of the given splits of a published bank (train and validation, or final, which lies apart)."""
    return [row for split in splits for row in read_rows(folder, split, PROMPT)]


def prompts_of_candidates(bank: Path, candidates: Path) -> dict[str, dict]:
    """PROMPT rows by id of everything that candidates answer: training prompts of the bank, and imported ones."""
    rows = [*read_prompts(bank, "train"), *read_rows(candidates, "prompts", PROMPT)]
    return {row["id"]: row for row in rows}
