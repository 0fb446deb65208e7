"""The language of a response."""

from tasks.verification.instructions import text as measure


def response_language(text: str, language: str) -> str | None:
    """language:response_language: the whole response is in `language` (ISO 639-1, or zh-cn and zh-tw)."""
    found = measure.language(text)
    if found is None:
        return "no language can be seen"  # IFEval lets such a response pass
    return None if found == language or found.partition("-")[0] == language else f"it reads as {found}"
