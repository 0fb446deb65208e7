"""How long a response is: sentences, paragraphs, words."""

import re

from tasks.verification.instructions import text as measure
from tasks.verification.instructions.text import Relation, misses


def number_sentences(text: str, num_sentences: int, relation: Relation) -> str | None:
    """length_constraints:number_sentences: less than, or at least, `num_sentences` (counted as text.py says)."""
    return misses(len(measure.sentences(text)), relation, num_sentences, "sentences")


def number_words(text: str, num_words: int, relation: Relation) -> str | None:
    """length_constraints:number_words: less than, or at least, `num_words`."""
    return misses(measure.words(text), relation, num_words, "words")


def number_paragraphs(text: str, num_paragraphs: int) -> str | None:
    """length_constraints:number_paragraphs: `num_paragraphs` parted by the divider `***`; none may be empty."""
    parts = [part.strip() for part in text.split("***")]
    parts = parts[not parts[0] : len(parts) - (not parts[-1])] if len(parts) > 1 else parts
    if not all(parts):
        return "an empty paragraph between two dividers"
    return None if len(parts) == num_paragraphs else f"{len(parts)} paragraphs, not {num_paragraphs}"


def nth_paragraph_first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> str | None:
    """length_constraints:nth_paragraph_first_word: `num_paragraphs` blocks parted by empty lines, and the first word of
    block `nth_paragraph` (from 1) is `first_word`, whatever its case and quotation marks.
    """
    blocks = measure.paragraphs(text)
    if len(blocks) != num_paragraphs:
        return f"{len(blocks)} paragraphs, not {num_paragraphs}"
    if not 1 <= nth_paragraph <= len(blocks):
        return f"there is no paragraph {nth_paragraph}"
    word = re.split(r"[.,?!'\"]", blocks[nth_paragraph - 1].split()[0].lstrip("'\""))[0]
    return None if word.lower() == first_word.lower() else f"paragraph {nth_paragraph} begins with {word[:40]!r}"
