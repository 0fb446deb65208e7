"""MMLU: CSV files without a header line (question, four options, letter), or the Hub's question / choices / answer."""

from tasks.prompts.formats.found import Found, parsed, text_of
from tasks.prompts.formats.options import gold_label, labelled, question

DOMAIN = "choice"
COLUMNS = ("question", "answer")
HEADER = ("question", "A", "B", "C", "D", "answer")


def convert(row: dict) -> Found:
    options = labelled(parsed(row["choices"]) if "choices" in row else {letter: row[letter] for letter in "ABCD"})
    return Found(
        question(text_of(row, "question"), options), gold_label(row["answer"], options), None, {"options": options}
    )
