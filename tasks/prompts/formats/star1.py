"""STAR-1 (UCSC-VLAA): unsafe requests with DeepSeek-R1's deliberation and response. No rule verifies them."""

from tasks.prompts.formats.found import Found, Output, text_of

DOMAIN = "safety"
COLUMNS = ("question", "response")


def convert(row: dict) -> Found:
    return Found(text_of(row, "question"))


def outputs(row: dict) -> list[Output]:
    return [Output(text_of(row, "response"))]
