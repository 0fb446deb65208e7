"""Reading a published prompt bank back."""

from pathlib import Path

from tasks.provenance.artifacts import read_rows
from tasks.rows import PROMPT


def read_prompts(folder: Path, *splits: str) -> list[dict]:
    """PROMPT rows of the given splits of a published bank (train and validation, or final, which lies apart)."""
    return [row for split in splits for row in read_rows(folder, split, PROMPT)]
