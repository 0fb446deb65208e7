"""Words and letters that must, may not, or must so often occur. Case never counts."""

import re

from tasks.verification.instructions.text import Relation, misses


def existence(text: str, keywords: list[str]) -> str | None:
    """keywords:existence: each of `keywords` occurs, also inside a longer word."""
    folded = text.lower()
    missing = [word for word in keywords if word.lower() not in folded]
    return f"{missing[0]!r} does not occur" if missing else None


def frequency(text: str, keyword: str, frequency: int, relation: Relation) -> str | None:
    """keywords:frequency: `keyword` occurs less than, or at least, `frequency` times, also inside longer words."""
    return misses(text.lower().count(keyword.strip().lower()), relation, frequency, f"times {keyword!r}")


def forbidden_words(text: str, forbidden_words: list[str]) -> str | None:
    """keywords:forbidden_words: none of `forbidden_words` occurs as a word of its own."""
    for word in forbidden_words:
        if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE):
            return f"{word!r} occurs"
    return None


def letter_frequency(text: str, letter: str, let_frequency: int, let_relation: Relation) -> str | None:
    """keywords:letter_frequency: `letter` (one character) occurs less than, or at least, `let_frequency` times."""
    return misses(text.lower().count(letter.lower()), let_relation, let_frequency, f"times {letter!r}")
