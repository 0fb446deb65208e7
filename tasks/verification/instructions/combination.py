"""Two responses in one, or the request before the response."""


def two_responses(text: str) -> str | None:
    """combination:two_responses: exactly two different responses parted by `******`."""
    parts = [part.strip() for part in text.split("******")]
    parts = parts[not parts[0] : len(parts) - (not parts[-1])] if len(parts) > 1 else parts
    if len(parts) != 2 or not all(parts):
        return f"{len(parts)} responses between dividers, not 2"
    return "the two responses are the same" if parts[0] == parts[1] else None


def repeat_prompt(text: str, prompt_to_repeat: str) -> str | None:
    """combination:repeat_prompt: the response begins with `prompt_to_repeat`, word for word but for case."""
    begins = text.strip().lower().startswith(prompt_to_repeat.strip().lower())
    return None if begins else "it does not begin with the request"
