"""Alpaca: `instruction`, an `input` that may be empty, `output` as the reference response. Nothing is verified."""

from tasks.prompts.formats.found import Found, text_of

DOMAIN = "qa"
COLUMNS = ("instruction", "output")


def convert(row: dict) -> Found:
    given = (row.get("input") or "").strip()
    instruction = (row["instruction"] or "").strip()
    text = f"{instruction}\n\n{given}" if instruction and given else instruction or given
    return Found(text, None, text_of(row, "output"))
