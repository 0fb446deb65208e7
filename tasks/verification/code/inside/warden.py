"""The first process of a jail: forks one confined process for each order, watches its limits, says how it ended.

It runs no code of a submission. Orders come over one socket that no child keeps, with the files of the child beside
them;
it ends when that socket does, and as process 1 of its namespace takes everything in the jail with it. As process 1
it also
cannot be signalled from inside.
"""

import contextlib
import gc
import json
import math
import os
import resource
import select
import signal
import socket
import stat
import sys
import time

import programs
import seccomp

THREADS = 64  # and processes; only a compiler may have any
FILES = 64
MAIN_STACK = 120 << 20  # within the gap that the kernel leaves for the stack of this process
IDLE_SHARE = 0.02  # of a core: less is no sign of life


def main(control_fd: int, uid: int, libraries: str) -> None:
    """`uid`: what programs run as where this process is root, -1: as this process does."""
    control = socket.socket(fileno=control_fd)
    woken, wake = os.pipe()
    for fd in (woken, wake):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    filters = {
        "python": seccomp.bpf(seccomp.PROGRAM),
        "binary": seccomp.bpf(seccomp.PROGRAM, execute=True),
    }
    programs.prepare(libraries)
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"ready": os.getpid()}).encode())
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1 << 16, 8)
        if not data:
            os._exit(0)
        order = json.loads(data)
        if "kind" not in order:  # a mark or a kill that came after its child's end
            continue
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            try:
                child(order, fds, uid, filters)
            finally:
                os._exit(120)
        for fd in fds:
            os.close(fd)
        report = watch(pid, order, control, woken)
        result = open_result() if order["kind"] == "compile" and report.get("exit") == 0 else None
        with contextlib.ExitStack() as stack:
            if result is not None:
                stack.callback(os.close, result)
            socket.send_fds(control, [json.dumps(report).encode()], [] if result is None else [result])


class Limits:
    """Of one child: CPU time, wall time, and how long it may do nothing. Off while a served program rests."""

    def __init__(self, pid: int, order: dict):
        self.clock = ~pid << 3 | 2  # the process's own CPU clock, all threads counted
        self.order, self.cores = order, len(os.sched_getaffinity(0))
        self.start(at=0.0)
        self.on = not order.get("rest")

    def start(self, at: float | None = None) -> None:
        self.on, self.cpu, self.wall = True, self.used() if at is None else at, time.monotonic()
        self.seen = self.cpu, self.wall  # CPU time at the last sign of life

    def used(self) -> float:
        try:
            return time.clock_gettime(self.clock)
        except OSError:  # it has just ended
            return 0.0

    def passed(self) -> str | None:
        cpu, wall = self.used(), time.monotonic()
        if not self.on:
            return None
        if cpu - self.cpu >= self.order["cpu"]:
            return "cpu"
        if cpu - self.seen[0] > IDLE_SHARE * (wall - self.seen[1]) and wall - self.seen[1] > 0.2:
            self.seen = cpu, wall
        idle = wall - self.seen[1] >= self.order["idle"]
        return "idle" if idle else "wall" if wall - self.wall >= self.order["wall"] else None

    def wait(self) -> float:
        """Seconds until a limit can be passed."""
        if not self.on:
            return 60.0
        cpu = (self.order["cpu"] - (self.used() - self.cpu)) / self.cores
        return max(0.002, min(cpu, self.order["idle"] / 2))


def watch(pid: int, order: dict, control: socket.socket, woken: int) -> dict:
    """Waits for a child; kills it where a limit is passed or the parent says so. A mark starts the limits anew."""
    limits, limit = Limits(pid, order), None
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        limit = limit or limits.passed()
        if limit:
            os.kill(pid, signal.SIGKILL)
        ready, _, _ = select.select([control, woken], [], [], 1.0 if limit else limits.wait())
        if woken in ready:
            os.read(woken, 4096)
        if control in ready:
            message = control.recv(1 << 16)
            if not message:
                os._exit(0)
            if b"kill" in message:
                limit = limit or "killed"
            elif b"rest" in message:
                limits.on = False
            else:
                limits.start()
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)  # a compiler's children
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    report = {"cpu": usage.ru_utime + usage.ru_stime - limits.cpu, "memory": usage.ru_maxrss << 10}
    if limit:
        return report | {"limit": limit}
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return report | ({"limit": "cpu"} if number == signal.SIGXCPU else {"signal": signal.Signals(number).name})
    if report["cpu"] > order["cpu"] and order["kind"] in ("python", "binary"):
        return report | {"limit": "cpu"}
    return report | {"exit": os.WEXITSTATUS(status)}


def open_result() -> int | None:
    """What the compiler wrote, or None."""
    try:
        fd = os.open("/tmp/program", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def child(order: dict, fds: list[int], uid: int, filters: dict[str, bytes]) -> None:
    """Becomes the program: files, limits, uid, filter; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for target, fd in enumerate(fds):  # theirs are all above 3: the control socket and the pipe came first
        os.dup2(fd, 16 + target)
    for target in range(len(fds)):
        os.dup2(16 + target, target, inheritable=True)
    os.closerange(len(fds), 1 << 16)
    kind = order["kind"]
    confine(order, uid)
    if kind == "compile":
        os.chdir("/tmp")
        os.execve(order["argv"][0], order["argv"], {"PATH": order["path"], "LANG": "C.UTF-8", "TMPDIR": "/tmp"})
    if kind == "binary":
        os.set_inheritable(3, False)
        seccomp.install(filters["binary"])
        os.execve(3, ["program"], {"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "1"})
    seccomp.install(filters["python"])
    os._exit(programs.run(kind))


def confine(order: dict, uid: int) -> None:
    memory, compiles = order["memory"], order["kind"] == "compile"
    cpu = math.ceil(order["total"]) + 1
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_FSIZE: order["file_size"] if compiles else 0,
        resource.RLIMIT_NOFILE: FILES,
        resource.RLIMIT_NPROC: THREADS,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
    }
    stack = MAIN_STACK if order["kind"] != "binary" else max(8 << 20, memory // 2)
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]  # programs raise it themselves; the address space bounds it
    resource.setrlimit(resource.RLIMIT_STACK, (stack if hard < 0 else min(stack, hard), hard))
    if uid >= 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    for which, value in limits.items():
        hard = resource.getrlimit(which)[1]
        value = value if hard < 0 else min(value, hard)
        resource.setrlimit(which, (value, value))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
