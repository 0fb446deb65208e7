"""C++ programs: g++ in a jail of its own, whose small writable folder ends with it."""

import functools
import os
import shutil
import subprocess

from tasks.verification.code.jail import Pool, SandboxMissing, bubblewrap, memory_file
from tasks.verification.verdict import Decided

SECONDS = 30.0  # CPU time of the compiler
WALL_SECONDS = 90.0
MEMORY = 2 << 30  # bytes of address space for each of its processes
MAX_BINARY = 64 << 20
MAX_MESSAGES = 1 << 16  # bytes of the compiler's messages that are read
FLAGS = ("-x", "c++", "-std=gnu++17", "-O2", "-pipe", "-w", "-fmax-errors=3", "-o", "/tmp/program", "-")


@functools.cache
def require() -> None:
    """Raises SandboxMissing, with the remedy, where no C++ can be compiled in a jail."""
    compiler()
    text = subprocess.run([bubblewrap(), "--help"], capture_output=True, text=True)
    if "--size" not in text.stdout + text.stderr:
        raise SandboxMissing("C++ needs bubblewrap 0.7 or newer, whose writable folders have a size")


@functools.cache
def compiler() -> str:
    path = shutil.which("g++", path="/usr/bin:/usr/local/bin:/bin")
    if path is None:
        raise SandboxMissing(
            "C++ programs need g++ below /usr: apt-get install g++, dnf install gcc-c++ or apk add g++"
        )
    return path


def compiled(program: str, jails: Pool) -> int | Decided:
    """A file that holds the binary, or the verdict of a program that does not compile."""
    source = memory_file(program.encode("utf-8", "surrogatepass"))
    null = os.open(os.devnull, os.O_WRONLY)
    end, start = os.pipe()
    order = {
        "kind": "compile", "argv": [compiler(), *FLAGS], "path": "/usr/bin:/bin", "file_size": MAX_BINARY,
        "cpu": SECONDS, "total": SECONDS, "wall": WALL_SECONDS, "idle": WALL_SECONDS, "memory": MEMORY,
    }  # fmt: skip
    with jails.jail(writable=True) as jail, open(end, "rb") as messages:
        try:
            jail.order(order, [source, null, start])
        finally:
            for fd in (source, null, start):
                os.close(fd)
        said = messages.read(MAX_MESSAGES)
        while messages.read(MAX_MESSAGES):
            pass
        report, fds = jail.report(WALL_SECONDS)
        if not fds:
            if "limit" in report:
                return "timeout", "code/compile", f"the compiler was stopped at its {report['limit']} limit"
            return "wrong", "code/compile", _first_error(said.decode(errors="replace"))
        try:
            return _copy(fds[0])
        finally:
            os.close(fds[0])


def _copy(fd: int) -> int:
    with open(fd, "rb", closefd=False) as file:
        return memory_file(file.read(MAX_BINARY))


def _first_error(messages: str) -> str:
    lines = [line for line in messages.splitlines() if "error" in line] or messages.splitlines()
    return f"does not compile: {' | '.join(lines[:3])[:600]}"
