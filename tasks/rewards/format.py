"""Format reward (paper 2.2.2): reasoning inside the think tags, then one answer inside the answer tags."""

from tasks.responses import TAGS, parse


def format(prompts, completions, *, gold, **_) -> list[float | None]:
    """1 for a well-formed response, else 0.

    A general prompt needs no answer tag: there, a think block that opens and closes once, or no tag at all, is
    well-formed.
    """
    return [float(parse(text).well_formed if g is not None else general_format(text)) for text, g in zip(completions, gold, strict=True)]


def general_format(text: str) -> bool:
    """A response without any tag, or one think block followed by something."""
    if not any(tag in text for tag in TAGS):
        return bool(text.strip())
    response = parse(text)
    clean = response.think is not None and not any(tag in response.think + response.summary for tag in TAGS)
    return clean and bool(response.summary.strip())
