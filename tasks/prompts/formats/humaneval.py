"""HumanEval (openai/human-eval): a signature with its docstring, to be completed; asserts in `check(candidate)`."""

import ast

from tasks.prompts.formats.found import Found, text_of
from tasks.prompts.formats.programs import fenced

DOMAIN = "code"
COLUMNS = ("prompt", "entry_point", "canonical_solution", "test")


def convert(row: dict) -> Found:
    """The helpers that a prompt defines before its function belong to the test as well: not the program's own copy."""
    entry, prompt = text_of(row, "entry_point"), text_of(row, "prompt")
    solution = prompt + text_of(row, "canonical_solution")
    before = [node for node in ast.parse(solution).body if getattr(node, "name", None) != entry]
    meta = {
        "prelude": "\n".join(ast.unparse(node) for node in before),
        "tests": {"kind": "asserts", "entry": entry, "code": text_of(row, "test")},
        "solution": solution,
    }
    text = (
        f"Complete the Python function `{entry}`:\n\n{fenced(prompt)}\n\nReply with the whole function, and the "
        "imports and helpers that it needs, in one ```python block."
    )
    return Found(text, None, fenced(solution), meta)
