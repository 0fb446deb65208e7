"""What runs in the confined process: a program on standard input, a program whose functions are called, or a test.

Fresh from the fork, nothing here is shared with another submission. Whatever a program does to this process (and it can
do anything to it: walk the frames, patch json, end it) changes only what it answers: the answer is judged elsewhere.
"""

import builtins
import io
import os
import sys
import types

import wire

CHANNEL = 0  # the socket to the parent, where calls are served or made


def prepare(libraries: str) -> None:
    """Loads what nearly every program imports, once for all."""
    import bisect  # noqa: E401, F401
    import collections
    import functools
    import heapq
    import itertools
    import json
    import math
    import operator
    import re
    import string
    import threading
    import traceback
    import typing

    builtins.exit = builtins.quit = sys.exit  # as an interpreter with `site` has them
    here = os.path.dirname(__file__)
    sys.path[:] = [p for p in sys.path if p not in ("", here)] + ([libraries] if libraries else [])


def run(kind: str) -> int:
    """Exit code."""
    return {"python": stdio, "call": calls, "asserts": asserts}[kind]()


def _source(fd: int) -> str:
    parts, offset = [], 0
    while part := os.pread(fd, 1 << 20, offset):  # not read(): the file is shared by all cases, its position too
        parts.append(part)
        offset += len(part)
    os.close(fd)
    return b"".join(parts).decode("utf-8", "surrogatepass")


def _module(name: str) -> dict:
    """The namespace of a new module under this name."""
    module = sys.modules[name] = types.ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    return module.__dict__


def stdio() -> int:
    """The program is the script; its files 0, 1 and 2 are the parent's."""
    import threading
    import traceback

    source = _source(3)
    namespace = _module("__main__")
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        raw = open(fd, mode + "b", closefd=False)
        stream = io.TextIOWrapper(
            raw, encoding="utf-8", errors="strict" if fd < 2 else "replace", line_buffering=fd == 2
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = ["program.py"]
    code = 0
    try:
        exec(compile(source, "program.py", "exec", dont_inherit=True), namespace)
    except SystemExit as end:
        code = _exit_code(end.code)
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        threading._shutdown()  # a program may end in its last thread
        import atexit

        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = code or 1
    return code


def _exit_code(code) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


class Channel:
    """Messages to and from the parent, one JSON line each."""

    def __init__(self):
        import json

        self.dumps, self.loads = json.dumps, json.loads
        self.reader = os.fdopen(os.dup(CHANNEL), "rb")
        sys.stdin = sys.__stdin__ = io.StringIO()
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))

    def receive(self) -> dict | None:
        line = self.reader.readline()
        return self.loads(line) if line.endswith(b"\n") else None

    def send(self, message: dict) -> None:
        data = self.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(CHANNEL, data) :]


def _classes(namespace: dict) -> dict:
    """The classes that a prelude defines."""
    return {n: v for n, v in namespace.items() if isinstance(v, type) and v.__module__ == namespace["__name__"]}


def calls() -> int:
    """Loads the program, then answers calls until the parent hangs up."""
    channel = Channel()
    first = channel.receive()
    namespace = _module("solution")
    try:
        exec(compile(first["prelude"], "prelude.py", "exec", dont_inherit=True), namespace)
        classes = _classes(namespace)
        exec(compile(first["program"], "program.py", "exec", dont_inherit=True), namespace)
    except BaseException as error:
        channel.send(_raised(error))
        return 1
    channel.send({"value": None})
    held = _Held()
    codec = wire.Codec(classes, held.number if first["hold"] else None, lambda number, _: held.values[number])
    while (request := channel.receive()) is not None:
        try:
            reply = {"value": codec.write(_serve(request, namespace, codec))}
        except BaseException as error:
            reply = _raised(error)
        channel.send(reply)
    return 0


class _Held:
    """Objects of the program that a test has a hold of, by number."""

    def __init__(self):
        self.values, self.numbers = [], {}

    def number(self, value) -> int:
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.values)
            self.values.append(value)
        return self.numbers[id(value)]


def _serve(request: dict, namespace: dict, codec: wire.Codec):
    """`entry`: a call of it. `name`, `get`, `set`, `call`: one step of a test."""
    if "name" in request:
        return namespace[request["name"]]
    target, args, kwargs = codec.read(request["arguments"])
    if "entry" in request:
        return _resolve(request["entry"], namespace)(*args, **kwargs)
    if "get" in request:
        return getattr(target, request["get"])
    if "set" in request:
        return setattr(target, request["set"], args[0])
    return target(*args, **kwargs)


def _resolve(entry: str, namespace: dict):
    """`f`, `Solution().f`: names, empty calls and attributes."""
    value = None
    for i, step in enumerate(entry.split(".")):
        name = step.removesuffix("()")
        value = namespace[name] if i == 0 else getattr(value, name)
        if step.endswith("()"):
            value = value()
    return value


def _raised(error: BaseException) -> dict:
    try:
        text = str(error)[:300]
    except BaseException:
        text = ""
    return {"raised": type(error).__name__, "text": text}


class ProgramFailed(Exception):
    """What the program raised, where that is no built-in exception."""


class Remote:
    """Something of the program's, named by number. It equals only itself and is true, as objects are."""

    __slots__ = ("_ask", "_number")

    def __init__(self, ask, number: int):
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args, **kwargs):
        return self._ask({"call": True}, [self, args, kwargs])

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask({"get": name}, [self, (), {}])

    def __setattr__(self, name: str, value) -> None:
        self._ask({"set": name}, [self, (value,), {}])


def asserts() -> int:
    """Runs a test whose free names are the program's, in another jail; says how many of its asserts held.

    Nothing of the program runs here: what it returns arrives as plain data or as a Remote.
    """
    import ast

    channel = Channel()
    first = channel.receive()
    namespace = _module("tests")
    state = {"asserts": 0, "calls": 0, "asked": 0}
    exec(compile(first["prelude"], "prelude.py", "exec", dont_inherit=True), namespace)
    remotes: dict[int, Remote] = {}

    def fetch(number, _):
        return remotes.setdefault(number, Remote(ask, number))

    def held(value):
        if type(value) is Remote:
            return value._number
        raise TypeError(f"the test passes a value of type {type(value).__name__}, which is no plain data")

    codec = wire.Codec(_classes(namespace), held, fetch)

    def ask(request: dict, arguments: list | None = None):
        state["calls"] += "call" in request
        state["asked"] += 1
        if arguments is not None:
            request = request | {"arguments": codec.write(arguments)}
        channel.send(request)
        reply = channel.receive()
        if "raised" not in reply:
            return codec.read(reply["value"])
        kind = getattr(builtins, str(reply["raised"]), None)
        text = str(reply.get("text"))
        if isinstance(kind, type) and issubclass(kind, Exception) and kind not in (AssertionError, UnicodeDecodeError):
            raise kind(text) if kind is not UnicodeEncodeError else ValueError(text)
        raise ProgramFailed(f"{reply['raised']}: {text}")

    try:
        tree = _Counting().visit(ast.parse(first["code"]))
        for name in sorted(first["names"]):
            if name not in namespace:
                namespace[name] = ask({"name": name})
                state["asked"] -= type(namespace[name]) is Remote  # a name that is there has decided nothing yet
        if first["candidate"]:
            namespace["candidate"] = namespace[first["candidate"]]
        namespace["__held__"] = lambda: state.__setitem__("asserts", state["asserts"] + 1)
        exec(compile(ast.fix_missing_locations(tree), "tests.py", "exec"), namespace)
    except BaseException as error:
        channel.send({"failed": _raised(error), "line": _line(error)} | state)
        return 0
    channel.send({"passed": True} | state)
    return 0


def _line(error: BaseException) -> int | None:
    """The line of the test that failed."""
    lines, frame = [], error.__traceback__
    while frame:
        if frame.tb_frame.f_code.co_filename == "tests.py":
            lines.append(frame.tb_lineno)
        frame = frame.tb_next
    return lines[-1] if lines else None


def _Counting():
    """Puts a count behind every assert."""
    import ast

    class Counting(ast.NodeTransformer):
        def visit_Assert(self, node):
            return [node, ast.Expr(ast.Call(ast.Name("__held__", ast.Load()), [], []))]

    return Counting()
