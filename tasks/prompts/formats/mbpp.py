"""MBPP (google-research): a sentence and asserts.

The prompt shows the first assert, which tells name and arguments; all of them, and the challenge tests, are the hidden
tests. MBPP's own prompt shows three, which invites a table of answers.
"""

import ast

from tasks.prompts.formats.found import BadRow, Found, text_of
from tasks.prompts.formats.programs import fenced, function

DOMAIN = "code"
COLUMNS = ("text", "code", "test_list")


def convert(row: dict) -> Found:
    tests = [*row["test_list"], *(row.get("challenge_test_list") or [])]
    if not row["test_list"]:
        raise BadRow("test_list is empty")
    code = "\n".join([row.get("test_setup_code") or "", *tests]).replace("\r\n", "\n")
    solution = text_of(row, "code").replace("\r\n", "\n")
    defined = [node.name for node in ast.parse(solution).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    entry = next((name for name in reversed(defined) if f"{name}(" in code), None)
    if entry is None:
        raise BadRow(f"no test calls what the solution defines ({', '.join(defined)})")
    meta = {
        "prelude": "import math\n",
        "tests": {"kind": "asserts", "code": code, "entry": entry},
        "solution": solution,
    }
    text = function(text_of(row, "text"), entry, row["test_list"][0].replace("\r\n", "\n"))
    return Found(text, None, fenced(solution), meta)
