r"""Format that can be recognised: bullets, highlights, sections, JSON, a title, one of three answers."""

import json
import re

ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_BULLET = re.compile(r"^[^\S\n]*[*-][^\S\n]+\S", re.MULTILINE)
_HIGHLIGHT = re.compile(r"(?<!\*)(\*{1,3})(?![\s*])[^\n*]+(?<!\s)\1(?!\*)")
_FENCE = re.compile(r"\A```(?:json)?|```\Z", re.IGNORECASE)


def number_bullet_lists(text: str, num_bullets: int) -> str | None:
    """detectable_format:number_bullet_lists: exactly `num_bullets` lines open with `* ` or `- `."""
    found = len(_BULLET.findall(text))
    return None if found == num_bullets else f"{found} bullets, not {num_bullets}"


def constrained_response(text: str) -> str | None:
    """detectable_format:constrained_response: one of the three answers that IFEval offers occurs word for word."""
    return None if any(answer in text for answer in ANSWERS) else f"none of {', '.join(ANSWERS)}"


def number_highlighted_sections(text: str, num_highlights: int) -> str | None:
    """detectable_format:number_highlighted_sections: at least `num_highlights` spans of Markdown emphasis, `*so*`."""
    found = sum(1 for _ in _HIGHLIGHT.finditer(text))
    return None if found >= num_highlights else f"{found} highlights, not at least {num_highlights}"


def multiple_sections(text: str, section_spliter: str, num_sections: int) -> str | None:
    """detectable_format:multiple_sections: `section_spliter` with `num_sections` or more different numbers."""
    found = len(set(re.findall(rf"{re.escape(section_spliter.strip())}\s?(\d+)", text)))
    return None if found >= num_sections else f"{found} of {section_spliter!r}, not at least {num_sections}"


def json_format(text: str) -> str | None:
    """detectable_format:json_format: the whole is one JSON value, in a ```json fence or bare."""
    body = _FENCE.sub("", text.strip()).strip()
    try:
        json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"no JSON: {error}"
    return None


def _no_constant(name: str):
    raise ValueError(f"{name} is no JSON")


def title(text: str) -> str | None:
    """detectable_format:title: a title in double angular brackets, `<<so>>`, on one line and not blank."""
    for line in text.splitlines():
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end and line[start:end].strip("<> \t"):
            return None
    return "no <<title>>"
