"""As `stdio`, with the program asked for in C++."""

from tasks.prompts.formats import stdio
from tasks.prompts.formats.found import Found

DOMAIN = "code"
COLUMNS = stdio.COLUMNS


def convert(row: dict) -> Found:
    return stdio.convert(row, "cpp")
