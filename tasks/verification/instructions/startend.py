"""The first and last characters of a response."""


def end_checker(text: str, end_phrase: str) -> str | None:
    """startend:end_checker: the response ends with `end_phrase` in any case; quotation marks around the whole go."""
    ends = text.strip().strip('"').lower().endswith(end_phrase.strip().lower())
    return None if ends else f"it does not end with {end_phrase!r}"


def quotation(text: str) -> str | None:
    """startend:quotation: the whole response stands in double quotation marks (`"`)."""
    text = text.strip()
    return None if len(text) > 1 and text[0] == text[-1] == '"' else "no double quotation marks around the whole"
