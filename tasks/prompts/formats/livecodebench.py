"""LiveCodeBench records: the question, a submission and its grade; the tests are the examples of the statement.

The record of a submission that failed also holds the hidden test that it failed, as far as it was stored whole:
`submissions` gives both, for a comparison of verdicts. A submission that passed is the row's solution.
"""

import ast
import json
import re

from tasks.prompts.formats.found import BadRow, Found, text_of
from tasks.prompts.formats.leetcode import IMPORTS
from tasks.prompts.formats.programs import fenced, stdin_program

DOMAIN = "code"
COLUMNS = ("question_content", "starter_code")


def convert(row: dict) -> Found:
    examples = _examples(row)
    if examples is None:
        raise BadRow("no example of the statement can be read as a test")
    problem, starter = text_of(row, "question_content"), row["starter_code"]
    if starter:
        text = (
            f"{problem.strip()}\n\nComplete this Python code:\n\n{fenced(starter)}\n\nReply with the whole class, and "
            "the imports that it needs, in one ```python block."
        )
    else:
        text = stdin_program(problem)
    passed = bool(row.get("code_list")) and row.get("graded_list", [False])[0]
    if not passed:
        return Found(text, None, None, examples)
    return Found(text, None, fenced(row["code_list"][0]), examples | {"solution": row["code_list"][0]})


def submissions(row: dict) -> list[tuple[dict, str, str | None]]:
    """(tests, program, error) of a graded submission: with the examples, and with the hidden test that it failed.

    `error` is what the record says of that hidden test; the examples come with None.
    """
    program, examples = row["code_list"][0], _examples(row)
    out = [(examples, program, None)] if examples else []
    record = json.loads(row["metadata"][0])
    inputs, expected = record.get("inputs"), record.get("expected")
    if not row["graded_list"][0] and inputs and expected and "...(truncated)" not in inputs + expected:
        if hidden := _hidden(row, inputs, expected):
            out.append((hidden, program, record["error_message"]))
    return out


def _examples(row: dict) -> dict | None:
    return (_calls if row["starter_code"] else _samples)(row)


def _entry(row: dict) -> str:
    return "Solution()." + re.search(r"def (\w+)\(self", row["starter_code"])[1]


def _called(row: dict, cases: list[dict]) -> dict:
    return {"prelude": IMPORTS, "tests": {"kind": "call", "entry": _entry(row), "cases": cases}}


def _hidden(row: dict, inputs: str, expected: str) -> dict | None:
    if not row["starter_code"]:
        return {"tests": {"kind": "stdio", "cases": [{"input": inputs, "output": expected}]}}
    try:
        return _called(row, [{"args": json.loads(inputs), "expected": json.loads(expected)}])
    except ValueError:
        return None


def _samples(row: dict) -> dict | None:
    """AtCoder's numbered samples; an example that a remark follows ends at the first empty line."""
    text = row["question_content"]
    cases = []
    for match in re.finditer(r"Sample Input (\d+)\n\n(.*?)\n\nSample Output \1\n\n(.*?)(?:\n\n|\Z)", text, re.DOTALL):
        output = "" if match[3].startswith("\n") else match[3]  # an empty output, and a remark below it
        cases.append({"input": match[2] + "\n", "output": output + "\n"})
    return {"tests": {"kind": "stdio", "cases": cases}} if any(c["output"].strip() for c in cases) else None


def _calls(row: dict) -> dict | None:
    """LeetCode's examples, `Input: nums = [1,2], k = 1` and `Output: 3`."""
    cases = []
    for match in re.finditer(r"^Input: (.*?)\nOutput: (.*?)\n", row["question_content"], re.MULTILINE):
        names = [(m.start(), m[1]) for m in re.finditer(r"(?:^|, )(\w+) = ", match[1])]
        try:
            call = ast.parse(f"f({match[1].replace('true', 'True').replace('false', 'False')})", mode="eval").body
            kwargs = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
            if names and len(kwargs) == len(names):
                cases.append({"args": [], "kwargs": kwargs, "expected": json.loads(match[2])})
        except (SyntaxError, ValueError):
            continue
    return _called(row, cases) if cases else None
