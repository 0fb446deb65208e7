"""Content that can be recognised: placeholders, a postscript."""

import re


def number_placeholders(text: str, num_placeholders: int) -> str | None:
    """detectable_content:number_placeholders: `num_placeholders` or more in brackets, `[address]`, none blank."""
    found = sum(1 for part in re.findall(r"\[([^\[\]\n]*)\]", text) if part.strip())
    return None if found >= num_placeholders else f"{found} placeholders, not at least {num_placeholders}"


def postscript(text: str, postscript_marker: str) -> str | None:
    """detectable_content:postscript: `postscript_marker` (`P.S.`, `P.P.S`) occurs, with words behind it on its line;
    the end of `P.P.S.` is no `P.S.`"""
    letters = re.escape(postscript_marker.strip()).replace(r"\.", r"\.\s?").removesuffix(r"\s?")
    if re.search(rf"(?<!\w)(?<!p\.)(?<!p\. ){letters}[^\w\n]*\w", text, re.IGNORECASE):
        return None
    return f"no postscript after {postscript_marker!r}"
