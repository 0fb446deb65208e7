"""The processes behind workers.py: a nursery that has the libraries loaded, and the workers it forks.

The nursery never touches a job: it forks a worker for each socket it is handed, so that a worker killed at its limit is
replaced in milliseconds instead of the seconds that importing sympy takes. A worker reads one JSON job a line and
writes one JSON reply a line. Each job runs under a CPU-time limit (a profiling timer whose signal is left to kill the
process: an integer power inside one C call cannot be interrupted in any other way) and each worker under a limit of
address space. When a worker ends, the nursery writes its exit code on the same socket.
"""

import ctypes
import gc
import importlib
import json
import os
import re
import resource
import selectors
import signal
import socket
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def answer(module: str, job: dict) -> dict:
    """What became of one job; the domain's `work` decides, and whatever it raises is a failure of ours."""
    try:
        return {"reply": importlib.import_module(module).work(job)}
    except MemoryError:
        return {"limit": "memory"}
    except RecursionError:
        return {"limit": "recursion depth"}
    except Exception as error:  # the libraries raise anything on odd input: no verdict, and the reason kept
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def _use_math_verify() -> None:
    """Its first parse builds a grammar, its first matrix, set or relation imports much of sympy: a second of CPU."""
    from math_verify import parse, verify

    pairs = [
        (r"\frac{1}{2}x^2+\sqrt{3}", "(a+5)(b+2)"), ("32", r"(1,2)\cup[3,\infty)"), ("y=-2x", r"(2,12)\cup(12,102)"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "(a+5)(b+2)"), (r"\{1,2\}", r"\{1,\frac{4}{2}\}"),
    ]  # fmt: skip
    for gold, answer in pairs:
        parsed = [parse(f"${text}$", parsing_timeout=None) for text in (gold, answer)]
        verify(*parsed, timeout_seconds=None)


_FIRST_USE = {"math-verify": _use_math_verify}


def preload(module: str) -> None:
    """Imports the domain and its libraries, so that no job is charged for them; a domain's `warm()` may load more."""
    try:
        domain = importlib.import_module(module)
        todo, seen = [domain], set()
        while todo:  # what it imports inside its functions
            source = Path(todo.pop().__file__).read_text(encoding="utf-8")
            for name in set(re.findall(r"^ +from (tasks\.[\w.]+) import", source, re.MULTILINE)) - seen:
                seen.add(name)
                todo.append(importlib.import_module(name))
        for name in getattr(domain, "LIBRARIES", ()):
            importlib.import_module(name.replace("-", "_"))
            _FIRST_USE.get(name, lambda: None)()
        getattr(domain, "warm", lambda: None)()
    except Exception:  # the job says what is wrong; one domain's missing library must not stop the others
        pass


def serve(channel: socket.socket, memory: int) -> None:
    """A worker's life: jobs until the parent hangs up."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    reader, out = channel.makefile("rb"), channel.makefile("wb")
    out.write(json.dumps({"pid": os.getpid()}).encode() + b"\n")
    out.flush()
    for line in reader:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["cpu_seconds"])
        try:
            reply = json.dumps(answer(request["module"], request["job"])).encode()
        except (TypeError, ValueError) as error:
            reply = json.dumps({"error": f"the reply is no JSON: {error}"[:300]}).encode()
        except (MemoryError, RecursionError):
            reply = b'{"limit": "memory"}'
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write(reply + b"\n")
        out.flush()


class Nursery:
    """Forks workers on request, and reports their ends."""

    def __init__(self, control: socket.socket):
        self.control = control
        self.workers: dict[int, socket.socket] = {}
        self.loaded: set[str] = set()
        self.wakeup, self.wakeup_in = socket.socketpair()
        self.wakeup.setblocking(False)
        self.wakeup_in.setblocking(False)
        signal.set_wakeup_fd(self.wakeup_in.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.control, selectors.EVENT_READ, self.order)
            selector.register(self.wakeup, selectors.EVENT_READ, self.reap)
            while True:
                for key, _ in selector.select():
                    if key.data() is False:
                        return

    def order(self) -> bool | None:
        """One order of the parent: a worker on the socket sent along, or the end of one. False: the parent is gone."""
        message, descriptors, _, _ = socket.recv_fds(self.control, 65536, 1)
        if not message:
            return False
        order = json.loads(message)
        if "kill" in order:
            if order["kill"] in self.workers:  # not reaped yet, so the pid is still its own
                os.kill(order["kill"], signal.SIGKILL)
            return None
        if order["module"] not in self.loaded:
            self.loaded.add(order["module"])
            preload(order["module"])
            gc.freeze()  # shared pages stay shared
        channel = socket.socket(fileno=descriptors[0])
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.nice(order["niceness"])
                self.become_worker(channel, order["memory"])
                code = 0
            finally:
                os._exit(code)
        self.workers[pid] = channel
        return None

    def become_worker(self, channel: socket.socket, memory: int) -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for name in (signal.SIGCHLD, signal.SIGPROF):
            signal.signal(name, signal.SIG_DFL)
        for other in (self.control, self.wakeup, self.wakeup_in, *self.workers.values()):
            other.close()
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):  # a library that prints must not disturb anybody
            os.dup2(null, standard)
        serve(channel, memory)

    def reap(self) -> None:
        try:
            self.wakeup.recv(4096)
        except BlockingIOError:
            pass
        while self.workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            channel = self.workers.pop(pid)
            try:
                channel.settimeout(1)
                channel.sendall(b'\n{"exit": %d}\n' % os.waitstatus_to_exitcode(status))
            except OSError:  # the parent has hung up already
                pass
            channel.close()


def main(descriptor: int) -> None:
    for fast_integers in ("gmpy2", "flint"):  # a factorial inside them answers to no signal
        sys.modules[fast_integers] = None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it hangs up
    Nursery(socket.socket(fileno=descriptor)).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
