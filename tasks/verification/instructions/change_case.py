"""Capital and lower-case letters."""

import re

from tasks.verification.instructions import text as measure
from tasks.verification.instructions.text import Relation, misses

_WORD = re.compile(r"[^\W_]+(?:[&.\-][^\W_]+)*")  # an apostrophe parts: `I'm` holds `I`


def capital_word_frequency(text: str, capital_relation: Relation, capital_frequency: int) -> str | None:
    """change_case:capital_word_frequency: less than, or at least, `capital_frequency` words in capitals; `I` is one."""
    found = sum(1 for word in _WORD.finditer(text) if word[0].isupper())
    return misses(found, capital_relation, capital_frequency, "words in capitals")


def english_capital(text: str) -> str | None:
    """change_case:english_capital: no lower-case letter, and English."""
    return _english(text) if text.isupper() else "not all in capitals"


def english_lowercase(text: str) -> str | None:
    """change_case:english_lowercase: no capital letter, and English."""
    return _english(text) if text.islower() else "not all in lower case"


def _english(text: str) -> str | None:
    found = measure.language(text)
    return None if found == "en" else f"it reads as {found}, not English"
