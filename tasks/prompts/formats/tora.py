r"""ToRA outputs (microsoft/ToRA): a question, and solutions that write programs, see what they print, box an answer."""

from tasks.prompts.formats.found import Found, Output, text_of

DOMAIN = "maths"
COLUMNS = ("question", "gt", "code")


def convert(row: dict) -> Found:
    return Found(text_of(row, "question"), str(row["gt"]))


def outputs(row: dict) -> list[Output]:
    return [Output(text) for text in row["code"]]
