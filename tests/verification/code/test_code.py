"""The code domain: extraction, comparison, tests of each kind, limits, bad rows, missing sandbox."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.verification.code import compare, domain, extraction, jail, task
from tasks.verification.code.inside import wire
from tasks.verification.verdict import VerificationError
from tasks.verification.verify import verify

ROOT = Path(__file__).resolve().parents[3]
sandboxed = pytest.mark.skipif(shutil.which("bwrap") is None, reason=f"bubblewrap is not installed: {jail.INSTALL}")
SUM = {"kind": "stdio", "cases": [{"input": "1 2\n", "output": "3\n"}, {"input": "5 6", "output": "11"}]}
SQUARE = {
    "kind": "call",
    "entry": "f",
    "cases": [{"args": [3], "expected": 9}, {"args": [], "kwargs": {"x": 2}, "expected": 4}],
}


def row(tests=SUM, **meta) -> dict:
    return {"id": "p", "domain": "code", "gold": None, "meta": json.dumps({"tests": tests} | meta)}


def decided(program: str, tests=SUM, language="python", **meta):
    return verify(row(tests, language=language, **meta), f"<think>…</think>\n```{language}\n{program}\n```")


def block(tag: str, body: str) -> str:
    return f"```{tag}\n{body}\n```\n"


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (block("python", "a") + block("python", "b"), "b\n"),
        (block("python", "a") + "prints\n" + block("", "3"), "a\n"),
        (block("", "a") + block("text", "3"), "a\n"),
        (block("cpp", "x") + block("py", "a") + block("bash", "ls"), "a\n"),
        ("<think>" + block("python", "a") + "</think>" + block("python", "b"), "b\n"),
        ("~~~python\na\n```\nb\n~~~", "a\n```\nb\n"),
        ("````python\na = '''\n```\n'''\n````", "a = '''\n```\n'''\n"),
        ("1. So:\n   ```python\n   if a:\n     b\n   ```\n", "if a:\n  b\n"),
        ("```Python3\r\na\r\n```\r\n", "a\n"),
    ],
)
def test_extraction(text, program):
    assert extraction.program(text, "python") == program


@pytest.mark.parametrize(
    "text",
    ["", "print(1)", "```python\nprint(1)", "<think>" + block("python", "a"), "<think>" + block("python", "a") + "</think>no",
     block("cpp", "a"), block("python", " "), "`python a`", block("python", "x" * (1 << 20))],
)  # fmt: skip
def test_no_program(text):
    assert domain.start(row(), text)[1][0] == "unparsable"


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [("a\nb", "a\nb\n", True), ("a\nb", "a", False), ("a", "a\nb", False), ("a\n\nb", "a\nb", False), ("a b", "a  b", False),
     ("a ", "  a\n\n", True), ("1.0", "1.00", False), ("", "", True), ("a", "", False), ("a", "b", False)],
)  # fmt: skip
def test_lines(expected, actual, same):
    assert (compare.differing_line(expected, actual) is None) == same


def test_tolerance_only_where_it_is_said():
    assert compare.differing_line("1.0 x", "1.0000001 x") is not None
    assert compare.differing_line("1.0 x", "1.0000001 x", 1e-6) is None
    assert compare.differing_line("1.0 x", "1.1 x", 1e-6) is not None
    assert (
        compare.differing_line("1.0", "nan", 1.0) is not None and compare.differing_line("1.0", "inf", 1.0) is not None
    )
    assert compare.differing_line("100 1", "100", 1.0) is not None


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [([1, 2], (1, 2), True), ([1, 2], [1, 2, 3], False), ({"1": [2]}, {1: (2,)}, True), ({"1": 2}, {1: 2, "1": 2}, False),
     (1, 1.0, True), (1, True, True), (1, "1", False), ("1", 1, False), (None, None, True), (None, 0, False), ([1], {1}, False),
     (10**400, 10**400, True), (1.5, 10**400, False), ([], {}, False), ([[]], [()], True)],
)  # fmt: skip
def test_values(expected, actual, same):
    assert (compare.differing_value(expected, actual) is None) == same
    assert (compare.differing_value([expected], [actual], 1e-9) is None) == same


def test_values_travel():
    class Node:
        def __init__(self, value, after=None):
            self.value, self.after = value, after

    codec = wire.Codec({"Node": Node})

    def travel(value):
        return codec.read(json.loads(json.dumps(codec.write(value))))

    loop = [1]
    loop.append(loop)
    values = [
        None,
        -0.0,
        math.inf,
        "\ud800",
        (1, [2, {3}]),
        {(1, 2): frozenset({4})},
        10**5000,
        b"x",
        1j,
        range(3),
        int,
        {1: {2: 3}},
    ]
    for value in values:
        assert travel(value) == value and type(travel(value)) is type(value)
    assert (back := travel(loop))[1] is back
    assert travel(Node(1, Node(2))).after.value == 2
    for junk in (
        None,
        [],
        {"table": [["list", [[5]]]], "top": [0]},
        {"table": [["object", "os", {}]], "top": [0]},
        {"table": 1},
    ):
        with pytest.raises(wire.WireError):
            codec.read(junk)


@pytest.mark.parametrize(
    ("meta", "word"),
    [
        ({}, "tests"), ({"tests": {"kind": "stdio", "cases": []}}, "zero tests"), ({"tests": {"kind": "exam"}}, "kind"),
        ({"tests": {"kind": "stdio", "cases": [{"input": "", "output": " "}]}}, "no output"),
        ({"tests": {"kind": "stdio", "cases": [{"input": 1, "output": "1"}]}}, "input"),
        ({"tests": {"kind": "call", "entry": "f(1)", "cases": [{"expected": 1}]}}, "entry"),
        ({"tests": {"kind": "asserts", "code": "f(1) == 1"}}, "no assert"),
        ({"tests": {"kind": "asserts", "code": "assert ("}}, "no Python"),
        ({"tests": {"kind": "asserts", "code": "assert True"}}, "nothing of the program"),
        ({"tests": {"kind": "asserts", "code": "def check(candidate):\n assert candidate(1)"}}, "entry"),
        ({"tests": SUM, "language": "cobol"}, "cobol"), ({"tests": SQUARE, "language": "cpp"}, "stdio"),
        ({"tests": SUM, "time_s": 0}, "time_s"), ({"tests": SUM, "timeout": 3}, "timeout"),
    ],
)  # fmt: skip
def test_a_bad_row_names_itself_and_the_key(meta, word):
    prompt = {"id": "row7", "domain": "code", "gold": None, "meta": json.dumps(meta)}
    with pytest.raises(VerificationError, match=word) as error:
        task.parse(prompt)
    assert "row7" in str(error.value)


@sandboxed
@pytest.mark.parametrize(
    ("program", "status", "word"),
    [
        ("print(sum(map(int, input().split())))", "ok", "2 cases"),
        ("import threading\nthreading.Thread(target=lambda: print(sum(map(int, input().split())))).start()", "ok", ""),
        ("print(sum(map(int, input().split()))); exit()", "ok", ""),
        ("import sys\nprint(sum(map(int, open(0).read().split()))); sys.exit()", "ok", ""),
        ("if __name__ == '__main__': print(sum(map(int, input().split())))", "ok", ""),
        ("print(3)", "wrong", "case 2"),
        ("print(1 / 0)", "wrong", "ZeroDivisionError"),
        ("print(", "wrong", "SyntaxError"),
        ("import os; os._exit(0)", "wrong", "line 1"),
    ],
)
def test_programs(program, status, word):
    verdict = decided(program)
    assert verdict.status == status and word in verdict.detail and verdict.extracted == program + "\n"


@sandboxed
def test_cases_do_not_see_each_other():
    """A count kept in the process, in a module or in a file would show in the second case."""
    keep = "import sys, builtins\nprint(getattr(builtins, 'n', 0), getattr(sys, 'n', 0))\nbuiltins.n = sys.n = 1"
    assert decided(keep, {"kind": "stdio", "cases": [{"input": str(i), "output": "0 0"} for i in range(4)]}).ok


@sandboxed
def test_calls():
    assert decided("def f(x): return x * x", SQUARE).ok
    assert decided(
        "class S:\n  n = 0\n  def f(self, x):\n    self.n += x\n    return self.n * x", SQUARE | {"entry": "S().f"}
    ).ok
    assert decided("def f(x): print('noise'); return x * x", SQUARE).ok
    assert decided("def g(x): return x * x", SQUARE).detail == "case 1 of 2: the program raised KeyError: 'f'"
    close = {"kind": "call", "entry": "f", "cases": [{"args": [], "expected": [0.3]}]}
    assert decided("def f(): return [0.1 + 0.2]", close).status == "wrong"
    assert decided("def f(): return [0.1 + 0.2]", close, tolerance=1e-9).ok


@sandboxed
def test_asserts_hold_what_is_no_plain_data_and_see_exceptions():
    code = "p = Pair(1, 2)\np.b = 5\nassert total(p) == 6\ntry:\n  total(None)\nexcept AttributeError:\n  done = True\nassert done\nassert p.a == 1"
    program = "class Pair:\n  def __init__(self, a, b): self.a, self.b = a, b\ndef total(p): return p.a + p.b"
    assert decided(program, {"kind": "asserts", "code": code}).detail == "3 asserts, 3 calls"
    assert decided(program.replace("+", "-"), {"kind": "asserts", "code": code}).status == "wrong"


@sandboxed
def test_a_test_that_reaches_no_assert_is_wrong_and_a_broken_one_is_infra():
    loop = {"kind": "asserts", "code": "for x in f(3):\n  assert x == 1"}
    assert decided("def f(n): return [1] * n", loop).ok
    assert decided("def f(n): return []", loop).status == "wrong"
    broken = {"kind": "asserts", "code": "import no_such_module\nassert f(1) == 1"}
    verdict = decided("def f(n): return 1", broken)
    assert verdict.status == "infra" and "no_such_module" in verdict.detail
    assert decided("f = 1", {"kind": "asserts", "code": "assert f(1) == 1"}).status == "wrong"


@sandboxed
def test_cpp():
    program = '#include <cstdio>\nint main(){ int a, b; scanf("%d %d", &a, &b); printf("%d\\n", a + b); }'
    assert decided(program, language="cpp").ok
    assert decided(program.replace("+", "-"), language="cpp").status == "wrong"
    verdict = decided("int main(){ return x; }", language="cpp")
    assert (verdict.status, verdict.method) == ("wrong", "code/compile") and "error" in verdict.detail


@sandboxed
def test_a_case_costs_its_own_limit():
    start = time.monotonic()
    assert decided("while True: pass", time_s=0.3).status == "timeout"
    assert decided("print(sum(map(int, input().split())))").ok
    assert time.monotonic() - start < 15


@sandboxed
def test_a_jail_that_dies_is_replaced():
    assert decided("print(sum(map(int, input().split())))").ok
    pool = jail.pool()
    held = pool.idle.get_nowait()
    held.process.kill()
    held.process.wait()
    pool.idle.put(held)
    assert decided("print(sum(map(int, input().split())))").ok


@sandboxed
def test_nothing_outlives_a_killed_parent(tmp_path):
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from tasks.verification.code import jail\n"
        "held = jail.pool().starter.submit(jail.Jail).result()\nprint(held.process.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(ROOT)], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while (alive := _alive(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _bubblewrap(folder: Path, script: str) -> dict:
    (folder / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bwrap").chmod(0o755)
    return os.environ | {"PATH": f"{folder}:/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("script", "remedy"),
    [
        (
            "echo 'bwrap: No permissions to create new namespace, likely because the kernel does not allow' >&2; exit 1",
            "namespaces",
        ),
        ("echo 'bwrap: Unknown option --as-pid-1' >&2; exit 1", "bubblewrap 0.4 or newer"),
    ],
)
def test_a_sandbox_that_cannot_start_stops_with_the_remedy(tmp_path, script, remedy):
    code = "from tasks.verification.code import domain\ndomain.ready()"
    env = _bubblewrap(tmp_path, script)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "SandboxMissing" in done.stderr and remedy in done.stderr


def test_a_missing_bubblewrap_stops_with_the_command(monkeypatch):
    monkeypatch.setattr(jail.shutil, "which", lambda *args, **kwargs: None)
    jail.bubblewrap.cache_clear()
    try:
        with pytest.raises(jail.SandboxMissing, match="apt-get install bubblewrap"):
            jail.bubblewrap()
    finally:
        jail.bubblewrap.cache_clear()
