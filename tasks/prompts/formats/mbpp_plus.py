"""MBPP+ (evalplus): MBPP's sanitised tasks with corrected tests.

The tests are the base asserts. The further inputs come without outputs, which are whatever the canonical solution
gives: they are left out, as running them would need the solution beside the program.
"""

from tasks.prompts.formats.found import Found, text_of
from tasks.prompts.formats.programs import fenced, function

DOMAIN = "code"
COLUMNS = ("prompt", "entry_point", "canonical_solution", "assertion")


def convert(row: dict) -> Found:
    """The prompt is published as a docstring: the task, then one assert."""
    entry, solution = text_of(row, "entry_point"), text_of(row, "canonical_solution")
    lines = text_of(row, "prompt").strip().strip('"').strip().splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("assert ")), len(lines))
    tests = {"kind": "asserts", "code": text_of(row, "assertion"), "entry": entry}
    text = function("\n".join(lines[:first]), entry, "\n".join(lines[first:]) or None)
    return Found(text, None, fenced(solution), {"prelude": "import math\n", "tests": tests, "solution": solution})
