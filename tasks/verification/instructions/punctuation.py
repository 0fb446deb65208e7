"""Punctuation that may not occur."""


def no_comma(text: str) -> str | None:
    """punctuation:no_comma: no `,`."""
    return f"{text.count(',')} commas" if "," in text else None
