"""Domain `code`: a program out of a response, against hidden tests, in a sandbox.

`meta` of a prompt: {"language": "python" | "cpp", "tests": …, "time_s", "memory_mb", "tolerance", "prelude", "broken",
"solution"}, all but the tests optional. Tests are one of
    {"kind": "stdio", "cases": [{"input": text, "output": text}]}
    {"kind": "call", "entry": "f" or "Solution().f", "cases": [{"args": […], "kwargs": {…}, "expected": JSON}]}
    {"kind": "asserts", "code": a test in Python, "entry": what it calls `candidate`}
`solution` must pass and `broken` (what a bug-fixing prompt shows) must not: the prompt stage checks both.
"""

import json

from tasks.verification.code import task as tasks_of
from tasks.verification.code.extraction import NoProgram, program
from tasks.verification.verdict import Decided

NAME = "code"
LIBRARIES = ("numpy", "sortedcontainers")  # programs may import them
RUNS = "thread"


def ready() -> None:
    """Raises VerificationError with the remedy where this machine has no sandbox; there is no other way to run code."""
    from tasks.verification.code import jail

    jail.require()


def start(prompt: dict, text: str) -> tuple[str | None, Decided | None, dict | None]:
    """(program, decision, job): the decision at once where there is no program in the response."""
    task = tasks_of.parse(prompt)
    try:
        extracted = program(text, task.language)
    except NoProgram as reason:
        return None, ("unparsable", "code/extraction", str(reason)), None
    _require(task)
    return extracted, None, {"meta": _meta(prompt), "program": extracted}


def _meta(prompt: dict) -> dict:
    meta = prompt.get("meta")
    return json.loads(meta) if isinstance(meta, str) else dict(meta)


def _require(task: tasks_of.Task) -> None:
    ready()
    if task.language == "cpp":
        from tasks.verification.code import compiler

        compiler.require()


def work(job: dict) -> Decided | dict:
    """Runs a program (or, for a gold, the row's own programs) against the tests of `meta`."""
    from tasks.verification.code import jail
    from tasks.verification.code.runs import decide

    task = tasks_of.parse({"meta": job["meta"]})
    if "program" in job:
        return decide(task, job["program"], jail.pool())
    for name, right in (("solution", True), ("broken", False)):
        text = job["meta"].get(name)
        if text is not None:
            status, _, detail = decide(task, text, jail.pool())
            if status == "infra" or (status == "ok") != right:
                return {"problem": f"meta.{name} is {status} against the tests ({detail})"}
    return {"problem": None}


def gold_problem(prompt: dict) -> tuple[str | None, dict | None]:
    """What is wrong with the tests; the job runs the row's own solution and broken program, where it has them."""
    task = tasks_of.parse(prompt)
    meta = _meta(prompt)
    for name in ("solution", "broken"):
        if not isinstance(meta.get(name, ""), str):
            return f"meta.{name} must be a text", None
    if "solution" not in meta and "broken" not in meta:
        return None, None
    _require(task)
    return None, {"meta": meta}
