"""What a code prompt's `meta` says: language, tests, limits. A fault in it is the row's, never the program's."""

import ast
import builtins
import json
import re
import symtable
from dataclasses import dataclass, field

from tasks.verification.code.extraction import TAGS
from tasks.verification.verdict import VerificationError

TIME_SECONDS = 6.0  # CPU time of one case, as LiveCodeBench gives it
TOTAL_FACTOR = 10  # all cases of a submission may take so many times one case's limit
MEMORY_MB = 1024  # address space; an idle interpreter takes some 30 MB of it
_KEYS = {"language", "tests", "time_s", "memory_mb", "tolerance", "prelude", "broken", "solution"}
_KINDS = {"stdio": {"kind", "cases"}, "call": {"kind", "entry", "cases"}, "asserts": {"kind", "code", "entry"}}


@dataclass(frozen=True)
class Task:
    language: str
    kind: str  # stdio, call, asserts
    cases: list[dict] = field(default_factory=list)
    entry: str | None = None  # what is called: `f`, `Solution().f`
    code: str = ""  # asserts
    names: tuple[str, ...] = ()  # names that the asserts take from the program or the prelude
    time_s: float = TIME_SECONDS
    memory_mb: int = MEMORY_MB
    tolerance: float | None = None
    prelude: str = ""  # runs before the program, and before the asserts where they run

    @property
    def memory(self) -> int:
        return self.memory_mb << 20

    @property
    def limits(self) -> dict:
        """CPU time is what counts: on a busy machine a program may wait. One that does nothing is stopped sooner."""
        return {"cpu": self.time_s, "idle": self.time_s + 1, "wall": 20 * self.time_s + 10, "memory": self.memory}


def parse(prompt: dict) -> Task:
    """The task of a PROMPT row; raises VerificationError that names the row, the key and the remedy."""
    row = f"prompt {prompt.get('id')} of domain 'code'"
    meta = prompt.get("meta")
    try:
        meta = json.loads(meta) if isinstance(meta, str) else meta or {}
        if not isinstance(meta, dict):
            raise ValueError(f"meta is a {type(meta).__name__}")
        if unknown := sorted(set(meta) - _KEYS):
            raise ValueError(f"meta has unknown keys {', '.join(unknown)} (it may have {', '.join(sorted(_KEYS))})")
        return _parse(meta)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{row}: {error}") from None


def _parse(meta: dict) -> Task:
    language, tests = meta.get("language", "python"), meta.get("tests")
    if language not in TAGS:
        raise ValueError(f"meta.language is {language!r}, none of {', '.join(TAGS)}")
    if not isinstance(tests, dict) or tests.get("kind") not in _KINDS:
        raise ValueError(
            f"meta.tests.kind must be one of {', '.join(_KINDS)}: without hidden tests nothing can be verified"
        )
    kind = tests["kind"]
    if unknown := sorted(set(tests) - _KINDS[kind]):
        raise ValueError(f"meta.tests of kind {kind} has unknown keys {', '.join(unknown)}")
    if kind != "stdio" and language != "python":
        raise ValueError(f"tests of kind {kind} are for Python; {language} programs are tested through stdio")
    task = Task(
        language, kind, time_s=_number(meta, "time_s", TIME_SECONDS, 0.05, 600.0),
        memory_mb=int(_number(meta, "memory_mb", MEMORY_MB, 64, 65536)), tolerance=_number(meta, "tolerance", None, 0.0, 1.0),
        prelude=_text(meta.get("prelude") or "", "meta.prelude"), **(_asserts(tests) if kind == "asserts" else _cases(tests)),
    )  # fmt: skip
    _compiles(task.prelude, "meta.prelude")
    return task


def _cases(tests: dict) -> dict:
    cases, kind = tests.get("cases"), tests["kind"]
    if not isinstance(cases, list) or not cases:
        raise ValueError("meta.tests.cases is empty: zero tests prove nothing")
    for i, case in enumerate(cases):
        if not isinstance(case, dict):
            raise ValueError(f"meta.tests.cases[{i}] is a {type(case).__name__}, not an object")
        if kind == "stdio":
            _text(case.get("input"), f"meta.tests.cases[{i}].input")
            _text(case.get("output"), f"meta.tests.cases[{i}].output")
        elif "expected" not in case or not isinstance(case.get("args", []), list):
            raise ValueError(f"meta.tests.cases[{i}] needs `expected` and a list `args`")
    if kind == "stdio":
        if not any(case["output"].strip() for case in cases):
            raise ValueError("meta.tests.cases expect no output at all: a program that does nothing would pass")
        return {"cases": cases}
    entry = _text(tests.get("entry"), "meta.tests.entry")
    if not all(step.removesuffix("()").isidentifier() for step in entry.split(".")):
        raise ValueError(f"meta.tests.entry is {entry!r}, not of the form `f` or `Solution().f`")
    return {"cases": cases, "entry": entry}


def _asserts(tests: dict) -> dict:
    code, entry = _text(tests.get("code"), "meta.tests.code"), tests.get("entry")
    tree = _compiles(code, "meta.tests.code")
    if not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        raise ValueError("meta.tests.code has no assert: zero tests prove nothing")
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    if "check" in functions and "check" not in called:  # as HumanEval defines it
        code += "\n\ncheck(candidate)\n"
    names = free_names(code)
    if not (entry is None and "candidate" not in names) and not (isinstance(entry, str) and entry.isidentifier()):
        raise ValueError(f"meta.tests.entry is {entry!r}: it must name the program's function, which the tests call")
    names |= {entry} if entry and re.search(rf"\b{re.escape(entry)}\b", code) or "candidate" in names else set()
    names.discard("candidate")
    if not names:
        raise ValueError("meta.tests.code names nothing of the program")
    return {"code": code, "names": tuple(sorted(names)), "entry": entry}


def free_names(code: str) -> set[str]:
    """Names that a module uses and neither binds nor has built in."""
    top = symtable.symtable(code, "tests.py", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    used, todo = set(), [top]
    while todo:
        table = todo.pop()
        todo += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (table is top or s.is_global())}
    return used - bound - set(dir(builtins))


def _compiles(code: str, key: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{key} is no Python: {error}") from None


def _text(value, key: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text, and is {type(value).__name__}")
    return value


def _number(meta: dict, key: str, default: float | None, low: float, high: float) -> float | None:
    value = meta.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"meta.{key} is {value!r}, not a number from {low:g} to {high:g}")
    return value
