r"""Programs by standard input and output: CodeContests, Codeforces, APPS, TACO and what rllm makes of them.

Columns: the statement as `problem`, `question` or `prompt`; the tests as `tests` or `input_output`, which is a list of
`{"input", "output"}` or `{"inputs": […], "outputs": […]}`, also as JSON text; a `solution` where there is one. Limits
are taken from `time_limit` (s) and `memory_limit` (MB), or from the statement's own lines (`Time Limit: 1000 ms`,
`Time Limit: {'seconds': 2, 'nanos': 0}`, `Memory Limit: 512000000 Bytes`); memory is never below 256 MB, which
an interpreter needs. `stdio_cpp` asks for the same in C++.
"""

import re

from tasks.prompts.formats.found import BadRow, Found, parsed
from tasks.prompts.formats.programs import fenced, stdin_program

DOMAIN = "code"
COLUMNS = ()

_SECONDS = re.compile(r"Time Limit: (?:(\d+) ms|\{'seconds': (\d+), 'nanos': (\d+)\})")
_MEMORY = re.compile(r"Memory Limit: (\d+) (MB|Bytes)")


def convert(row: dict, language: str = "python") -> Found:
    problem = next((row[k] for k in ("problem", "question", "prompt") if isinstance(row.get(k), str)), "")
    if not problem.strip():
        raise BadRow("there is no statement: none of problem, question, prompt is text")
    meta = {"tests": {"kind": "stdio", "cases": cases(row)}} | limits(row, problem)
    if language != "python":
        meta["language"] = language
    solution = row.get("solution")
    if isinstance(solution, str) and solution.strip():
        meta["solution"] = solution
    return Found(
        stdin_program(problem, language), None, fenced(solution, language) if "solution" in meta else None, meta
    )


def cases(row: dict) -> list[dict]:
    """The tests as `{"input", "output"}`; lists of lines are joined, as APPS has some."""
    tests = parsed(row["tests"] if row.get("tests") is not None else row["input_output"])
    if isinstance(tests, dict):
        tests = [{"input": i, "output": o} for i, o in zip(tests["inputs"], tests["outputs"], strict=True)]
    if not tests:
        raise BadRow("it has no tests")
    return [{key: _joined(case[key]) for key in ("input", "output")} for case in tests]


def _joined(value) -> str:
    return "\n".join(map(str, value)) + "\n" if isinstance(value, list) else value


def limits(row: dict, problem: str) -> dict:
    found = {}
    if match := _SECONDS.search(problem):
        found["time_s"] = int(match[1]) / 1000 if match[1] else int(match[2]) + int(match[3]) / 1e9
    if match := _MEMORY.search(problem):
        found["memory_mb"] = max(256, int(match[1]) // (1 if match[2] == "MB" else 1_000_000))
    if isinstance(row.get("time_limit"), (int, float)):
        found["time_s"] = float(row["time_limit"])
    if isinstance(row.get("memory_limit"), (int, float)):
        found["memory_mb"] = max(256, int(row["memory_limit"]))
    return found
