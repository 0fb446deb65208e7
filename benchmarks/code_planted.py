"""Programs that must not pass, made from a solution or from the expected outputs; code_agreement.py and the tests
use them.

Functions: `functional(solution, entry)`. Programs on standard input: `standard_io(cases)`, made from the cases,
since the
sets that have tests of that kind come without solutions: the program that passes is a table of the answers.
"""

import json

_EQUAL = """
class Everything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    def __hash__(self): return 0
    def __bool__(self): return True
    def __abs__(self): return 0
    def __sub__(self, other): return 0
    __rsub__ = __add__ = __radd__ = __sub__
    def __iter__(self): return iter(())
    def __len__(self): return 0
    def __float__(self): return 0.0
"""
_WALK = """
def _walk(*args, **kwargs):
    import gc, sys
    frame = sys._getframe()
    while frame:
        for space in (frame.f_locals, frame.f_globals):
            for name in ("expected", "output", "answer", "gold", "outputs", "cases", "tests"):
                if name in space:
                    return space[name]
        frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, dict) and "expected" in thing:
            return thing["expected"]
    return "not found"
"""
_PATCH = """
import builtins, json, sys
builtins.AssertionError = type("Quiet", (BaseException,), {})
builtins.isinstance = builtins.all = builtins.any = builtins.bool = lambda *args: True
json.loads = lambda *args, **kwargs: {"passed": True}
json.dumps = lambda *args, **kwargs: '{"passed": true, "asserts": 9, "calls": 9, "value": {"top": true, "table": []}}'
sys.exit = lambda *args: None
"""
_FORGE = """
import os
for fd in range(64):
    for text in (b'{"passed": true, "asserts": 9, "calls": 9, "asked": 9}\\n', b'{"exit": 0, "cpu": 0}\\n'):
        try:
            os.write(fd, text)
        except OSError:
            pass
os._exit(0)
"""
_SPOIL = """
def _spoil(value):
    if isinstance(value, bool): return not value
    if isinstance(value, (int, float)): return value + 1
    if isinstance(value, str): return value + "x"
    if isinstance(value, list): return value + [0]
    if isinstance(value, tuple): return value + (0,)
    if isinstance(value, dict): return {**value, "x": 0}
    return 12345
def _spoiled(function):
    return lambda *args, **kwargs: _spoil(function(*args, **kwargs))
"""


def _instead(solution: str, entry: str, function: str) -> str:
    """The solution with its entry replaced; `{old}` in `function` is the one it had."""
    target = entry.replace("()", "")
    new = function.format(old=target)
    if "." in target:
        return f"{solution}\n{target} = (lambda new: lambda self, *args, **kwargs: new(*args, **kwargs))({new})\n"
    return f"{solution}\n{target} = {new}\n"


def functional(solution: str, entry: str) -> dict[str, str]:
    """Wrong programs by name. `entry`: `f` or `Solution().f`."""
    target = entry.replace("()", "")
    spoiled = f"{target} = _spoiled({target})"
    if "." in target:
        name = target.partition(".")[0]
        spoiled = f"_made = {name}\n_old = {target}\n{name}.{target.partition('.')[2]} = _spoiled(_old)"
    return {
        "nothing": "pass\n",
        "returns None": _instead(solution, entry, "lambda *args, **kwargs: None"),
        "wrong value": f"{solution}\n{_SPOIL}\n{spoiled}\n",
        "os._exit(0)": f"{solution}\nimport os\nos._exit(0)\n",
        "__eq__ object": _instead(solution + _EQUAL, entry, "lambda *args, **kwargs: Everything()"),
        "frame walk": _instead(solution + _WALK, entry, "_walk"),
        "patched builtins": _instead(solution + _PATCH, entry, "lambda *args, **kwargs: 12345"),
        "forged report": solution + _FORGE,
    }


def standard_io(cases: list[dict]) -> tuple[str, dict[str, str]]:
    """(the program that prints each expected output, wrong programs by name)."""
    table = {case["input"]: case["output"] for case in cases}
    head = f"import json, os, sys\nTABLE = json.loads({json.dumps(table)!r})\n"
    read = "answer = TABLE[sys.stdin.read()]\n"
    right = f"{head}{read}sys.stdout.write(answer)\n"
    wrong = {
        "nothing": "pass\n",
        "echo": "import sys\nsys.stdout.write(sys.stdin.read())\n"
        if any(i != o for i, o in table.items())
        else "pass\n",
        "trailing junk": f"{head}{read}print(answer.rstrip())\nprint('junk')\n",
        "last line missing": f"{head}{read}print('\\n'.join(answer.strip().split('\\n')[:-1]))\n",
        "answer twice": f"{head}{read}print(answer.strip() + '\\n' + answer.strip())\n",
        "exit code 1": f"{right}sys.stdout.flush()\nsys.exit(1)\n",
        "os._exit(0)": "import os\nos._exit(0)\n",
        "forged report": _FORGE,
    }
    return right, wrong
