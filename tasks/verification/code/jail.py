"""A jail: bubblewrap around a warden (inside/warden.py) that forks one confined process for each program it is sent.

Around the warden: its own mount, pid, network, IPC, UTS and (without root) user namespaces; a read-only root that holds
/usr, the interpreter and four devices, no /proc, no /tmp; a system-call list. Around each program besides: rlimits, an
unused uid where we are root (rlimits on processes do not bind root), and a shorter list. Expected outputs never enter.

A jail serves one program after another: nothing can be left behind where nothing can be written and no process outlives
its turn. A jail in which a limit fired is not used again.
"""

import atexit
import contextlib
import functools
import json
import os
import queue
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.verification.code.inside import seccomp
from tasks.verification.verdict import VerificationError

STARTUP_SECONDS = 30.0
USES = 200  # programs, after which a jail is replaced
UIDS = (61184, 65519)  # nobody's: systemd keeps them for services without a user
COMPILER_SPACE = 256 << 20  # bytes of the only writable folder there is
INSTALL = "apt-get install bubblewrap, dnf install bubblewrap or apk add bubblewrap (`make setup` does it where it may)"
LIBRARIES = ("numpy", "sortedcontainers")  # besides the standard library, where they are installed here
_INSIDE = Path(__file__).resolve().parent / "inside"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_PROFILE = """abi <abi/4.0>, include <tunables/global> profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }"""


class SandboxMissing(VerificationError):
    """This machine cannot run the sandbox; the message has the remedy. There is no unconfined fallback."""


class JailBroken(Exception):
    """The sandbox failed, not the program in it."""


class Jail:
    """One jail. `run` sends a program in; a jail that has raised or met a limit is closed by its user."""

    def __init__(self, writable: bool = False):
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.errors = tempfile.TemporaryFile()
        self.uses, self.healthy = 0, True
        rules = memory_file(seccomp.bpf(seccomp.WARDEN, supervise=True))
        argv = command(theirs.fileno(), rules, writable)
        try:
            self.process = subprocess.Popen(
                argv, pass_fds=(theirs.fileno(), rules), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=self.errors, cwd="/", env=_environment(),
            )  # fmt: skip
        except OSError as error:
            self.process = None
            self.close()
            raise JailBroken(f"{argv[0]} does not start: {error}") from None
        finally:
            theirs.close()
            os.close(rules)
        self.control.settimeout(STARTUP_SECONDS)
        try:
            ready = self.control.recv(4096)
        except TimeoutError:
            ready = b""
        if not ready:
            words = self.close()
            raise JailBroken(f"no jail started: {words or 'it ended at once'}")

    def order(self, order: dict, fds: list[int]) -> None:
        self.uses += 1
        try:
            socket.send_fds(self.control, [json.dumps(order).encode()], fds)
        except OSError as error:
            raise JailBroken(f"the warden takes no orders: {error}") from None

    def say(self, word: str) -> None:
        """`mark`: limits start anew; `rest`: none until the next mark; `kill`: end the program."""
        with contextlib.suppress(OSError):  # its end shows where the report is read
            self.control.send(json.dumps({word: 1}).encode())

    def report(self, seconds: float) -> tuple[dict, list[int]]:
        """How the program ended, and the files that came with it."""
        self.control.settimeout(seconds)
        try:
            data, fds, _, _ = socket.recv_fds(self.control, 1 << 16, 2)
        except OSError as error:
            raise JailBroken(f"no report from the warden: {error or type(error).__name__}") from None
        if not data:
            raise JailBroken(f"the warden has ended: {self.words()}")
        report = json.loads(data)
        self.healthy = self.healthy and "limit" not in report
        return report, fds

    def words(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")[-500:].strip()

    def close(self) -> str:
        """Ends everything in the jail; what it said on standard error."""
        self.healthy = False
        self.control.close()  # the warden ends with it
        if self.process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)
            self.process.kill()  # and whatever is inside dies with its parent
            self.process.wait()
        words = "" if self.errors.closed else self.words()
        self.errors.close()
        return words


def memory_file(data: bytes) -> int:
    """A file in memory with this content, read from its start."""
    fd = os.memfd_create("r1flow")
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _environment() -> dict:
    # A fixed hash seed: the same program gets the same verdict. One thread and one arena: more would not fit the
    # memory.
    return {
        "PYTHONHASHSEED": "0",
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "HOME": "/",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
    }


def command(control: int, rules: int, writable: bool) -> list[str]:
    """The bubblewrap command line of a jail."""
    root = os.getuid() == 0
    argv = [bubblewrap(), "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if root:  # a user namespace would map every uid to root; the warden gives its children another
        argv += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_KILL"]
    else:
        argv += ["--unshare-user"]
    argv += ["--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "jail", "--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib64", "/lib32"):
        if os.path.islink(name):
            argv += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            argv += ["--ro-bind", name, name]
    if writable:  # before an interpreter that may lie below it
        argv += ["--perms", "1777", "--size", str(COMPILER_SPACE), "--tmpfs", "/tmp"]
    for prefix in sorted({sys.base_prefix, sys.base_exec_prefix, str(Path(_interpreter()).parent.parent)}):
        if not _below(prefix, "/usr"):
            for parent in reversed(
                Path(prefix).parents[:-1]
            ):  # made by a bind, they would be closed to the dropped uid
                argv += ["--dir", str(parent)]
            argv += ["--ro-bind", prefix, prefix]
    argv += ["--dir", "/dev", "--dir", "/libraries"]
    for device in _DEVICES:
        argv += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    argv += ["--ro-bind", str(_INSIDE), "/jail"]
    for name, folder in _libraries().items():
        argv += ["--ro-bind", folder, f"/libraries/{name}"]
    argv += ["--remount-ro", "/", "--chdir", "/", "--seccomp", str(rules)]
    uid = str(random.SystemRandom().randrange(*UIDS)) if root else "-1"
    start = "import sys; sys.path.insert(0, '/jail'); import warden; warden.main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])"
    return [*argv, "--", _interpreter(), "-s", "-S", "-B", "-X", "utf8", "-c", start, str(control), uid, "/libraries"]


def _interpreter() -> str:
    """This Python without its virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _below(path: str, folder: str) -> bool:
    return os.path.realpath(path) == folder or os.path.realpath(path).startswith(folder + "/")


@functools.cache
def _libraries() -> dict[str, str]:
    """Folders of the libraries that programs may import, with what numpy keeps beside itself."""
    from importlib.util import find_spec

    found = {}
    for name in LIBRARIES:
        spec = find_spec(name)
        if spec and spec.submodule_search_locations:
            folder = Path(next(iter(spec.submodule_search_locations)))
            found[name] = str(folder)
            beside = folder.parent / f"{name}.libs"
            if beside.is_dir():
                found[beside.name] = str(beside)
    return found


@functools.cache
def bubblewrap() -> str:
    path = shutil.which("bwrap") or shutil.which("bwrap", path="/usr/bin:/usr/local/bin:/bin")
    if path is None:
        raise SandboxMissing(f"domain code runs programs in bubblewrap, and there is no `bwrap` here: {INSTALL}")
    return path


@functools.cache
def require() -> None:
    """Raises SandboxMissing, with the remedy, where no jail can be started."""
    bubblewrap()
    try:
        Jail().close()
    except JailBroken as error:
        raise SandboxMissing(_remedy(str(error))) from None


def _remedy(words: str) -> str:
    if "amespace" in words or "uid map" in words or "Operation not permitted" in words or "Permission denied" in words:
        restricted = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        if restricted.is_file() and restricted.read_text().strip() == "1":
            return (
                f"bubblewrap may not make user namespaces here ({words}). Give it an AppArmor profile, as root: write "
                f"`{_PROFILE}` to /etc/apparmor.d/bwrap and run `apparmor_parser -r /etc/apparmor.d/bwrap`"
            )
        return (
            f"bubblewrap may not make namespaces here ({words}). As root: `sysctl -w kernel.unprivileged_userns_clone=1 "
            "user.max_user_namespaces=15000`; in a container: start it with `--cap-add SYS_ADMIN --security-opt "
            "seccomp=unconfined --security-opt apparmor=unconfined`; and the interpreter must be readable by this user"
        )
    return f"the code sandbox does not start here: {words}. It needs bubblewrap 0.4 or newer ({INSTALL}) and Linux 5.4 or newer"


class Pool:
    """Jails for the threads of this process: as many programs run at a time as there are cores."""

    def __init__(self):
        self.turns = threading.BoundedSemaphore(len(os.sched_getaffinity(0)))
        self.idle: queue.LifoQueue[Jail] = queue.LifoQueue()
        # bubblewrap's --die-with-parent means the thread that started it: this one ends with the process
        self.starter = ThreadPoolExecutor(1, "jail-starter")

    @contextlib.contextmanager
    def turn(self):
        """Held while a submission runs."""
        with self.turns:
            yield

    @contextlib.contextmanager
    def jail(self, writable: bool = False):
        jail = None
        while jail is None and not writable:
            try:
                jail = self.idle.get_nowait()
            except queue.Empty:
                break
        jail = jail or self.starter.submit(Jail, writable).result()
        try:
            yield jail
        except BaseException:
            jail.healthy = False
            raise
        finally:
            if jail.healthy and jail.uses < USES and not writable:
                self.idle.put(jail)
            else:
                jail.close()

    def close(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self.idle.get_nowait().close()


_pool: Pool | None = None
_lock = threading.Lock()


def pool() -> Pool:
    """The jails of this process; they end with it."""
    global _pool
    with _lock:
        _pool = _pool or Pool()
        return _pool


def _after_fork() -> None:
    """In a forked child the jails belong to the parent."""
    global _pool, _lock
    if _pool is not None:
        with contextlib.suppress(queue.Empty):
            while True:
                _pool.idle.get_nowait().control.close()
    _pool, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _pool and _pool.close())
