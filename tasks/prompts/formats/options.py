"""Multiple choice: options under letters, in the prompt and for the verifier; the gold as the letter of one of them."""

from string import ascii_uppercase

from tasks.prompts.formats.found import BadRow


def labelled(options) -> dict[str, str]:
    """Options under their labels: a mapping as it stands, a list under A, B, C, …; empty places of a list go."""
    if isinstance(options, dict):
        given = {str(label).strip(): text for label, text in options.items()}
    elif isinstance(options, list) and len(options) <= len(ascii_uppercase):
        given = dict(zip(ascii_uppercase, options))
    else:
        raise BadRow(f"options are a {type(options).__name__}, not a list or a mapping of up to 26")
    out = {label: str(text).strip() for label, text in given.items() if text is not None and str(text).strip()}
    if len(out) < 2:
        raise BadRow(f"{len(out)} options: a choice needs two")
    return out


def gold_label(gold, options: dict[str, str]) -> str:
    """The label that `gold` means: a label, the text of one option, or a position from 0 on (a number, or its digits).

    A label wins over a text, a text over a position: where digits are labels or options they are read as such.
    """
    if isinstance(gold, bool) or not isinstance(gold, (str, int)):
        raise BadRow(f"the gold is a {type(gold).__name__}, neither a label nor a position")
    name = str(gold).strip()
    if isinstance(gold, str):
        if name in options or name.upper() in options:
            return name if name in options else name.upper()
        if same := [label for label, text in options.items() if text == name]:
            return same[0]
    if name.isdecimal() and int(name) < len(options):
        return list(options)[int(name)]
    raise BadRow(f"the gold {name[:60]!r} is none of the labels {', '.join(options)}, no option's text and no position")


def question(text: str, options: dict[str, str]) -> str:
    """The prompt: the question, then every option on a line of its own."""
    return "\n".join([text.strip(), "", *(f"{label}. {option}" for label, option in options.items())])
