"""Programs against hidden tests: each kind of test, from the parent's side. Outputs are compared here, never in a
jail."""

import contextlib
import json
import os
import select
import socket
import time

from tasks.verification.code.compare import differing_line, differing_value
from tasks.verification.code.inside import wire
from tasks.verification.code.jail import Jail, JailBroken, Pool, memory_file
from tasks.verification.code.task import TOTAL_FACTOR, Task
from tasks.verification.verdict import Decided

MAX_OUTPUT = 16 << 20  # bytes on standard output, or of one returned value
MAX_STDERR = 4096  # bytes kept for the detail
REPORT_SECONDS = 20.0  # for a warden to say how a program ended that it has killed
GRACE_SECONDS = 1.0  # for a served program to end when its channel closes


def decide(task: Task, program: str, jails: Pool) -> Decided:
    """The verdict on a program; a sandbox that breaks is tried once more and then is infra."""
    for attempt in (1, 2):
        try:
            with jails.turn():
                return {"stdio": _stdio, "call": _calls, "asserts": _asserts}[task.kind](task, program, jails)
        except JailBroken as error:
            if attempt == 2:
                return "infra", "code/sandbox", str(error)


def _ended(report: dict, task: Task, where: str, error: str = "") -> Decided | None:
    """None where a program ended by itself without an error."""
    if limit := report.get("limit"):
        what = {"cpu": "of CPU time", "idle": "without doing anything", "wall": "of wall time"}.get(limit)
        what = f"{task.limits[limit]:g} s {what}" if what else "a limit"
        return "timeout", f"code/{task.kind}", f"{where}: stopped at {what}"
    if name := report.get("signal"):
        return "wrong", f"code/{task.kind}", f"{where}: the program was ended by {name}"
    if code := report.get("exit"):
        return "wrong", f"code/{task.kind}", f"{where}: exit code {code}{': ' if error else ''}{error}"
    return None


# -- programs by standard input and output
# -------------------------------------------------------------------------------


def _stdio(task: Task, program: str, jails: Pool) -> Decided:
    with contextlib.ExitStack() as stack:
        if task.language == "cpp":
            from tasks.verification.code.compiler import compiled

            binary = compiled(program, jails)
            if isinstance(binary, tuple):
                return binary
            kind = "binary"
        else:
            binary, kind = memory_file(program.encode("utf-8", "surrogatepass")), "python"
        stack.callback(os.close, binary)
        jail = stack.enter_context(jails.jail())
        spent = 0.0
        for i, case in enumerate(task.cases):
            where = f"case {i + 1} of {len(task.cases)}"
            out, error, report = run_case(jail, kind, task, binary, case["input"])
            if len(out) > MAX_OUTPUT:
                return "wrong", "code/stdio", f"{where}: more than {MAX_OUTPUT >> 20} MB of output"
            if decision := _ended(report, task, where, error):
                return decision
            actual = out.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
            if difference := differing_line(case["output"].replace("\r\n", "\n"), actual, task.tolerance):
                return "wrong", "code/stdio", f"{where}: {difference}"
            spent += report["cpu"]
            if spent > TOTAL_FACTOR * task.time_s:
                return "timeout", "code/stdio", f"{where}: all cases took more than {TOTAL_FACTOR * task.time_s:g} s"
    return "ok", "code/stdio", f"{len(task.cases)} cases"


def run_case(jail: Jail, kind: str, task: Task, program: int, text: str) -> tuple[bytes, str, dict]:
    """(output, last line of standard error, report) of one run; reads no more than MAX_OUTPUT and a bit."""
    order = {"kind": kind, "total": task.time_s, **task.limits}
    out_end, out_start = os.pipe()
    error_end, error_start = os.pipe()
    source = memory_file(text.encode("utf-8", "surrogatepass"))
    given = (source, out_start, error_start)
    try:
        try:
            jail.order(order, [*given, program])
        finally:
            for fd in given:
                os.close(fd)
        out, error = _drain(jail, out_end, error_end, task.limits["wall"] + REPORT_SECONDS)
    finally:
        os.close(out_end)
        os.close(error_end)
    report, _ = jail.report(REPORT_SECONDS)
    lines = error.decode(errors="replace").strip().splitlines()
    return out, lines[-1][:300] if lines else "", report


def _drain(jail: Jail, out_fd: int, error_fd: int, seconds: float) -> tuple[bytes, bytes]:
    """What a program writes, until it has closed both ends; ends it where it writes too much."""
    parts, size, error, deadline = [], 0, b"", time.monotonic() + seconds
    poll = select.poll()
    for fd in (out_fd, error_fd):
        poll.register(fd, select.POLLIN)
    left = 2
    while left:
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            raise JailBroken("the warden did not stop a program in time")
        for fd, _ in ready:
            data = os.read(fd, 1 << 16)
            if not data:
                poll.unregister(fd)
                left -= 1
            elif fd == error_fd:
                error = (error + data)[-MAX_STDERR:]
            elif size <= MAX_OUTPUT:
                parts.append(data)
                size += len(data)
                if size > MAX_OUTPUT:
                    jail.say("kill")
    return b"".join(parts), error


# -- functions
# ------------------------------------------------------------------------------------------------------------


class _TooMuch(Exception):
    """A message longer than MAX_OUTPUT."""


class Session:
    """A confined process that serves calls, or that makes them: one JSON line each way at a time."""

    def __init__(self, jail: Jail, kind: str, task: Task, first: dict):
        self.jail, self.task, self.buffer = jail, task, bytearray()
        self.channel, theirs = socket.socketpair()
        order = {"kind": kind, "total": TOTAL_FACTOR * task.time_s, "rest": True, **task.limits}
        null = os.open(os.devnull, os.O_RDWR)
        try:
            jail.order(order, [theirs.fileno(), null, null])
        finally:
            theirs.close()
            os.close(null)
        self.first = first
        self.report: dict | None = None

    def ask(self, message: dict | bytes) -> bytes | None:
        """The reply's line, or None where the process has ended or was ended (`ended` says how)."""
        line = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
        patience = self.task.limits["wall"] + REPORT_SECONDS  # the warden keeps the limits
        self.jail.say("mark")
        try:
            self.channel.settimeout(patience)
            self.channel.sendall(line)
            return self._line(time.monotonic() + patience)
        except TimeoutError:
            raise JailBroken("the warden did not stop a program in time") from None
        except OSError:
            return None
        finally:
            self.jail.say("rest")

    def _line(self, deadline: float) -> bytes | None:
        scanned = 0
        while (end := self.buffer.find(b"\n", scanned)) < 0:
            scanned = len(self.buffer)
            self.channel.settimeout(max(1e-3, deadline - time.monotonic()))
            data = self.channel.recv(1 << 18)
            if not data:
                return None
            self.buffer += data
            if len(self.buffer) > MAX_OUTPUT:
                raise _TooMuch
        line = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        return line

    def ended(self) -> dict:
        """How the process ended; hangs up, and waits a moment before ending it."""
        if self.report is None:
            self.channel.close()
            try:
                self.report, _ = self.jail.report(GRACE_SECONDS)
            except JailBroken:
                self.jail.say("kill")
                self.report, _ = self.jail.report(REPORT_SECONDS)
        return self.report


@contextlib.contextmanager
def _session(jails: Pool, kind: str, task: Task, first: dict):
    with jails.jail() as jail:
        session = Session(jail, kind, task, first)
        try:
            yield session
        finally:
            session.ended()


def _reply(line: bytes | None) -> dict | None:
    """A program's message, or None where it is none: then the program has not answered."""
    try:
        message = json.loads(line) if line else None
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _calls(task: Task, program: str, jails: Pool) -> Decided:
    first = {"program": program, "prelude": task.prelude, "hold": False}
    codec = wire.Codec()
    with _session(jails, "call", task, first) as session:
        try:
            if decision := _not_loaded(session, session.ask(first)):
                return decision
            for i, case in enumerate(task.cases):
                where = f"case {i + 1} of {len(task.cases)}"
                arguments = codec.write([None, case.get("args", []), case.get("kwargs", {})])
                line = session.ask({"entry": task.entry, "arguments": arguments})
                if line is None:
                    return _silent(session, where)
                if difference := _difference(_reply(line), case["expected"], task, codec):
                    return "wrong", "code/call", f"{where}: {difference}"
        except _TooMuch:
            return "wrong", "code/call", f"more than {MAX_OUTPUT >> 20} MB in one answer"
    return "ok", "code/call", f"{len(task.cases)} cases"


def _difference(reply: dict, expected, task: Task, codec: wire.Codec) -> str | None:
    if "raised" in reply:
        return f"the program raised {reply['raised']}: {reply.get('text')}"[:300]
    try:
        return differing_value(expected, codec.read(reply.get("value")), task.tolerance)
    except (wire.WireError, RecursionError, MemoryError) as error:
        return f"the answer is no plain data: {error}"


def _not_loaded(session: Session, line: bytes | None) -> Decided | None:
    if line is None:
        return _silent(session, "loading the program")
    reply = _reply(line)
    if "raised" in reply or "value" not in reply:
        detail = f"the program does not load: {reply.get('raised')}: {reply.get('text')}"[:300]
        return "wrong", f"code/{session.task.kind}", detail
    return None


def _silent(session: Session, where: str) -> Decided:
    """A served program that ended or was ended before it answered."""
    detail = f"{where}: the program ended before it answered"
    return _ended(session.ended(), session.task, where) or ("wrong", f"code/{session.task.kind}", detail)


def _asserts(task: Task, program: str, jails: Pool) -> Decided:
    """The test runs in a jail of its own and asks for calls; the program in another answers them."""
    first = {"program": program, "prelude": task.prelude, "hold": True}
    entry = task.entry if task.entry in task.names else None
    test = {"code": task.code, "prelude": task.prelude, "names": task.names, "candidate": entry}
    with _session(jails, "call", task, first) as session, _session(jails, "asserts", task, test) as tests:
        try:
            if decision := _not_loaded(session, session.ask(first)):
                return decision
            message: bytes | dict = test
            while True:
                line = tests.ask(message)
                if line is None:
                    return _silent(tests, "the test, with what the program returned")
                request = json.loads(line)
                if "passed" in request or "failed" in request:
                    return _tested(request)
                message = session.ask(line)
                if message is None:
                    return _silent(session, f"call {request.get('name', '')}".strip())
        except _TooMuch:
            return "wrong", "code/asserts", f"more than {MAX_OUTPUT >> 20} MB in one answer"


def _tested(said: dict) -> Decided:
    if "failed" in said:
        reason = f"{said['failed']['raised']}: {said['failed']['text']}".strip(": ")
        if not said["asked"]:
            return "infra", "code/asserts", f"the test fails before it asks the program anything: {reason}"
        held = f"after {said['asserts']} asserts that held"
        return "wrong", "code/asserts", f"line {said['line']} of the test, {held}: {reason}"
    if not said["calls"]:
        return "infra", "code/asserts", "the test never calls the program"
    if not said["asserts"]:
        return "wrong", "code/asserts", "no assert was reached with what the program returned"
    return "ok", "code/asserts", f"{said['asserts']} asserts, {said['calls']} calls"
