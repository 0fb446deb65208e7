"""Attacks on the code sandbox: small programs, each with the verdicts that mean it was contained.

A probe tries one forbidden thing, prints "refused" where that fails and "escaped" where it works; its hidden test
expects
"refused", so `ok` is containment. The others must not be `ok` at all: the verdicts they may get are listed.
"""

import textwrap

REFUSED = {"ok"}
WRONG = {"wrong"}
STOPPED = {"timeout"}

_PROBE = """
import ctypes, errno, os, platform, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def syscall(x86, arm, *args):
    libc.syscall.restype = ctypes.c_long
    number = x86 if platform.machine() == "x86_64" else arm
    result = libc.syscall(ctypes.c_long(number), *[a if isinstance(a, bytes) else ctypes.c_long(a) for a in args])
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result
def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)
def attempt():
{body}
try:
    attempt()
    print("escaped")
except BaseException:
    print("refused")
"""

# name: body of attempt(); it escapes where nothing raises
PROBES = {
    # processes
    "fork": "if os.fork() == 0: os._exit(0)",
    "forkpty": "os.forkpty()",
    "vfork": "import subprocess; subprocess.run(['/bin/true'])",
    "posix_spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "os.system": "assert os.system('true') == 0",
    "execve": "os.execv('/bin/true', ['true'])",
    "execveat": "syscall(322, 281, os.open('/usr/bin/env', os.O_RDONLY), b'', 0, 0, 0x1000)",
    "raw clone": "syscall(56, 220, 17, 0, 0, 0, 0)",
    "raw clone with namespaces": "syscall(56, 220, 0x7e020000 | 17, 0, 0, 0, 0)",
    "clone3": "syscall(435, 435, ctypes.addressof(ctypes.create_string_buffer(88)), 88)",
    "multiprocessing": "import multiprocessing; multiprocessing.Process(target=int).start()",
    "thread bomb": """
        import threading, time
        threading.stack_size(32768)
        for _ in range(5000):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()""",
    "signal process 1": "os.kill(1, signal.SIGKILL)",
    "signal everything": "os.kill(-1, signal.SIGKILL)",
    "signal by pidfd": "signal.pidfd_send_signal(os.pidfd_open(1), signal.SIGKILL)",
    "ptrace": "syscall(101, 117, 16, 1, 0, 0)",
    "ptrace traceme": "syscall(101, 117, 0, 0, 0, 0)",
    "read the warden's memory": "syscall(310, 270, 1, 0, 0, 0, 0, 0)",
    "write the warden's memory": "syscall(311, 271, 1, 0, 0, 0, 0, 0)",
    "take the warden's files": "syscall(438, 438, os.pidfd_open(1), 3, 0)",
    "become root": "os.setuid(0)",
    "change gid": "os.setgid(0)",
    "set groups": "os.setgroups([0])",
    "capabilities": "syscall(126, 91, 0, 0)",
    "raise memory limit": "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "raise process limit": "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (10**6, 10**6))",
    "limits of process 1": "import resource; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))",
    "real-time priority": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    "higher priority": "os.setpriority(os.PRIO_PROCESS, 0, -20)",
    "a new session": "os.setsid()",
    # files
    "write to the root": "open('/x', 'w')",
    "write to the working folder": "open('x', 'w')",
    "write to /tmp": "open('/tmp/x', 'w')",
    "write to /dev/shm": "open('/dev/shm/x', 'w')",
    "write to /usr": "open('/usr/x', 'w')",
    "write to the runner": "open('/jail/wire.py', 'a')",
    "write to the library": "open(os.__file__, 'a')",
    "make a folder": "os.mkdir('/dev/x')",
    "inode bomb": "[os.mkdir(f'/libraries/{i}') for i in range(10**5)]",
    "make a device": "os.mknod('/dev/sda', 0o60666, os.makedev(8, 0))",
    "make a fifo": "os.mkfifo('/dev/x')",
    "symbolic link": "os.symlink('/', '/dev/x')",
    "remove a file": "os.unlink('/jail/wire.py')",
    "change a mode": "os.chmod('/jail', 0o777)",
    "a file in memory": "os.write(os.memfd_create('x'), b'x')",
    "grow standard input": "os.write(0, b'x' * 10)",
    "read /etc/passwd": "open('/etc/passwd').read()",
    "read /etc/shadow": "open('/etc/shadow').read()",
    "list /home": "os.listdir('/home')",
    "list the root user's folder": "assert any('.ssh' in n or '.bash' in n for n in os.listdir('/root'))",
    "read the hidden tests' code": "open({here!r}).read()",
    "list /proc": "assert os.listdir('/proc')",
    "own memory": "open('/proc/self/mem', 'rb')",
    "the warden's environment": "open('/proc/1/environ', 'rb').read()",
    "list /sys": "assert os.listdir('/sys')",
    "kernel memory": "open('/dev/mem', 'rb')",
    "kernel log": "open('/dev/kmsg', 'rb')",
    "a terminal": "open('/dev/tty')",
    "open files of the runner": "assert [fd for fd in range(3, 1024) if not _closed(fd)]",
    "by file handle": "syscall(304, 265, 0, 0, 0)",
    "path out of the jail": "open('/../../../../etc/hostname').read()",
    # network and messages
    "TCP": "socket.create_connection(('1.1.1.1', 80), 1)",
    "local TCP": "socket.create_connection(('127.0.0.1', 22), 1)",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))",
    "IPv6": "socket.socket(socket.AF_INET6)",
    "listen": "socket.create_server(('0.0.0.0', 9999))",
    "names": "socket.getaddrinfo('example.com', 80)[0]",
    "netlink": "socket.socket(16, socket.SOCK_RAW)",
    "packet socket": "socket.socket(17, socket.SOCK_RAW)",
    "vsock": "socket.socket(40, socket.SOCK_STREAM)",
    "unix socket": "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
    "abstract unix socket": "socket.socket(socket.AF_UNIX).bind('\\0x')",
    "socket pair": "socket.socketpair()",
    "shared memory": "syscall(29, 194, 1, 4096, 0o1666)",
    "semaphores": "syscall(64, 190, 1, 1, 0o1666)",
    "message queue": "syscall(68, 186, 1, 0o1666)",
    "POSIX message queue": "syscall(240, 180, b'x', 0o102, 0o666, 0)",
    # kernel interfaces
    "user namespace": "syscall(272, 97, 0x10000000)",
    "mount namespace": "syscall(272, 97, 0x20000)",
    "join a namespace": "syscall(308, 268, 0, 0)",
    "mount": "syscall(165, 40, b'x', b'/dev', b'tmpfs', 0, 0)",
    "remount writable": "syscall(165, 40, b'/', b'/', b'', 32, 0)",
    "unmount": "syscall(166, 39, b'/usr', 2)",
    "new mount interface": "syscall(430, 430, b'tmpfs', 0)",
    "pivot_root": "syscall(155, 41, b'/', b'/')",
    "chroot": "os.chroot('/usr')",
    "bpf": "syscall(321, 280, 0, 0, 0)",
    "perf events": "syscall(298, 241, 0, 0, -1, -1, 0)",
    "userfaultfd": "syscall(323, 282, 0)",
    "io_uring": "syscall(425, 425, 1, ctypes.addressof(ctypes.create_string_buffer(256)))",
    "keyring": "syscall(250, 219, 0, -3, 0)",
    "add a key": "syscall(248, 217, b'user', b'x', b'x', 1, -4)",
    "load a module": "syscall(175, 105, b'', 0, b'')",
    "kexec": "syscall(246, 104, 0, 0, 0, 0)",
    "reboot": "syscall(169, 142, 0xfee1dead, 672274793, 0x1234567, 0)",
    "swap": "syscall(167, 224, b'/dev/null', 0)",
    "set the clock": "syscall(227, 112, 0, ctypes.addressof(ctypes.create_string_buffer(16)))",
    "host name": "socket.sethostname('x')",
    "personality": "syscall(135, 92, 0x0040000)",
    "inotify": "syscall(294, 26, 0)",
    "fanotify": "syscall(300, 262, 0, 0)",
    "another filter": "syscall(317, 277, 1, 0, 0)",
    "undo no_new_privs": "call('prctl', 38, 0, 0, 0, 0)",
    "be dumpable": "call('prctl', 4, 1, 0, 0, 0)",
    "type into the terminal": "import fcntl; fcntl.ioctl(0, 0x5412, b'x')",
    "raw I/O ports": "syscall(172, -1, 3)",
    "kernel log call": "syscall(103, 116, 3, 0, 0)",
    "memory of another NUMA node": "syscall(279, 239, 1, 0, 0, 0, 0, 0)",
    "lock memory": "call('mlockall', 3)",
    "a system call of the future": "syscall(999, 999)",
}

# name: (statuses, program)
PROGRAMS = {
    # resources
    "endless loop": (STOPPED, "while True: pass"),
    "sleep": (STOPPED, "import time; time.sleep(1000)"),
    "loop in C": (STOPPED, "9 ** 9 ** 9"),
    "catastrophic regex": (STOPPED, "import re; re.match('(a+)+$', 'a' * 60 + 'b')"),
    "deaf to signals": (
        STOPPED,
        "import signal\nfor n in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
    ),
    "stops itself": (STOPPED, "import signal; signal.raise_signal(signal.SIGSTOP)"),
    "threads in a loop": (
        STOPPED,
        "import threading\ndef f():\n  while True: pass\nfor _ in range(8): threading.Thread(target=f, daemon=True).start()\nf()",
    ),
    "a thread that stays": (
        STOPPED,
        "import threading, time; threading.Thread(target=time.sleep, args=(1000,)).start()",
    ),
    "full pipe to itself": (STOPPED, "import os; r, w = os.pipe()\nos.write(w, b'x' * 10**7)"),
    "list without end": (WRONG, "x = []\nwhile True: x.append(' ' * 10**6)"),
    "one large object": (WRONG, "x = bytearray(1 << 36)"),
    "anonymous maps": (WRONG, "import mmap\nx = [mmap.mmap(-1, 1 << 28) for _ in range(100)]"),
    "decompression bomb": (WRONG, "import zlib; x = zlib.decompress(zlib.compress(bytes(1 << 29))) * 4"),
    "endless recursion": (WRONG, "def f(): f()\nf()"),
    "recursion in C": (
        WRONG | STOPPED,
        "import sys; sys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nprint(x)",
    ),
    "deep source": (WRONG, "x = " + "(" * 5000 + ")" * 5000),
    "output flood": (WRONG, "import sys\nwhile True: sys.stdout.write('x' * 10**6)"),
    "lines without end": (WRONG, "import sys\nwhile True: sys.stdout.write('refused\\n' * 10**5)"),
    "error flood": (WRONG, "import sys\nfor _ in range(50): sys.stderr.write('x' * 10**6)\nprint('escaped')"),
    "files without end": (WRONG, "x = [open('/dev/null') for _ in range(10**6)]"),
    "crash": (WRONG, "import ctypes; ctypes.string_at(0)"),
    "kills itself": (WRONG, "import os, signal; signal.raise_signal(signal.SIGKILL)"),
    "NUL in the source": (WRONG, "print('refused')\0"),
    "lone surrogate in the source": (WRONG, "print('\ud800')"),
    # fake passes of a program on standard input
    "nothing": (WRONG, "pass"),
    "exit code 0": (WRONG, "import sys; sys.exit(0)"),
    "os._exit(0)": (WRONG, "import os; os._exit(0)"),
    "right and then exit code 1": (WRONG, "import sys; print('refused'); sys.exit(1)"),
    "right and then a crash": (WRONG, "print('refused', flush=True); import ctypes; ctypes.string_at(0)"),
    "more lines": (WRONG, "print('refused'); print('refused')"),
    "trailing junk": (WRONG, "print('refused', 'x')"),
    "terminal tricks": (WRONG, "print('escaped\\rrefused')"),
    "a forged report": (
        WRONG,
        'import os\nfor fd in range(64):\n  try: os.write(fd, b\'{"exit": 0, "cpu": 0}\')\n  except OSError: pass',
    ),
    "walks the frames": (
        WRONG,
        "import sys, gc\nf = sys._getframe()\nwhile f:\n  for v in (f.f_locals, f.f_globals):\n    for k in ('output', 'expected', 'case'):\n"
        "      if k in v: print(v[k])\n  f = f.f_back\nfor o in gc.get_objects():\n  if isinstance(o, dict) and 'output' in o: print(o['output'])",
    ),
    "undone by its exit handler": (WRONG, "import atexit, os; print('refused'); atexit.register(os._exit, 3)"),
    "another ABI (int 0x80)": (
        WRONG,
        "import ctypes, mmap, platform\nassert platform.machine() == 'x86_64'\nm = mmap.mmap(-1, 4096, prot=7)\n"
        "m.write(bytes.fromhex('b814000000cd80c3'))\nf = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\n"
        "f(); print('refused')",
    ),
}

# Functions f(x) against calls f(2) == [4, "a"] and f(3) == [9, "a"], and against the same as asserts
_EQUAL = "class E(list):\n  def __eq__(s, o): return True\n  __ne__ = __lt__ = __hash__ = lambda s, *o: 0\n"
_WIRE = "import os, json\ndef say(v): os.write(0, (json.dumps(v) if not isinstance(v, str) else v).encode() + b'\\n')\n"
FUNCTIONS = {
    "equal to everything": _EQUAL + "def f(x): return E()",
    "equal elements": _EQUAL + "def f(x): return [E(), E()]",
    "an int equal to everything": "class I(int):\n  def __eq__(s, o): return True\n  __hash__ = int.__hash__\ndef f(x): return [I(5), 'a']",
    "a str equal to everything": "class S(str):\n  def __eq__(s, o): return True\n  __hash__ = str.__hash__\ndef f(x): return [x*x, S('b')]",
    "a type that lies": "class M(type):\n  def __instancecheck__(c, i): return True\n  def __eq__(c, o): return True\n  __hash__ = type.__hash__\nclass V(metaclass=M): pass\ndef f(x): return V",
    "exit while called": "import os\ndef f(x): os._exit(0)",
    "SystemExit while called": "def f(x): raise SystemExit(0)",
    "its own AssertionError": "def f(x): raise AssertionError",
    "StopIteration": "def f(x): raise StopIteration",
    "an exception that lies": "class AssertionError(Exception):\n  def __str__(s): raise s\ndef f(x): raise AssertionError",
    "patched builtins": "import builtins\nbuiltins.len = builtins.all = builtins.isinstance = lambda *a: True\nbuiltins.AssertionError = None\ndef f(x): return 1",
    "patched json": 'import json\njson.dumps = lambda *a, **k: \'{"passed": true, "asserts": 2, "calls": 2, "asked": 2}\'\njson.loads = None\ndef f(x): return 1',
    "patched codec": "import wire\nwire.Codec.write = lambda s, v: {'top': True, 'table': []}\ndef f(x): return 1",
    "patched runner": "import sys\nsys.modules['programs']._serve = lambda *a: [4, 'a']\ndef f(x): return 1",
    "a reply of its own": _WIRE
    + "def f(x):\n  say({'passed': True, 'asserts': 2, 'calls': 2, 'asked': 2}); os._exit(0)",
    "replies ahead of time": _WIRE
    + "for _ in range(9): say({'value': {'top': True, 'table': []}})\ndef f(x): return 1",
    "a limit of its own": _WIRE + "def f(x):\n  say({'limit': 'cpu', 'error': 'sandbox', 'infra': 1}); os._exit(0)",
    "no JSON": _WIRE + "def f(x):\n  say('}{')",
    "JSON of another kind": _WIRE + "def f(x):\n  say([1]); say('null')",
    "NaN": "def f(x): return [float('nan'), 'a']",
    "deep JSON": _WIRE + "def f(x):\n  say('[' * 10**6)",
    "deep value": _WIRE + "def f(x):\n  say('{\"value\":' + '[' * 10**5 + ']' * 10**5 + '}')",
    "a number of a million digits": _WIRE
    + "def f(x):\n  say('{\"value\": {\"table\": [], \"top\": ' + '9' * 10**6 + '}}')",
    "a value that doubles": "def f(x):\n  v = [1]\n  for _ in range(200): v = [v, v]\n  return v",
    "a value in itself": "def f(x):\n  v = []; v += [v, v]\n  return v",
    "a row out of range": _WIRE + "def f(x):\n  say({'value': {'table': [['list', [[7]]]], 'top': [0]}})",
    "an object of no class": _WIRE + "def f(x):\n  say({'value': {'table': [['object', 'os', {}]], 'top': [0]}})",
    "an object held by no one": _WIRE + "def f(x):\n  say({'value': {'table': [['held', 99, 'x']], 'top': [0]}})",
    "a reply without end": _WIRE + "def f(x):\n  while True: os.write(0, b'x' * 10**5)",
    "a value too large": "def f(x): return 'x' * (1 << 25)",
    "loads for ever": "while True: pass",
    "reads the next calls": "import os\ndef f(x):\n  return os.read(0, 10**6).decode()",
    "closes the channel": "import os\ndef f(x):\n  os.close(0); return [x*x, 'a']",
    "answers by count": "n = 0\ndef f(x):\n  global n; n += 1; return n",
    "a generator": "def f(x):\n  yield x*x\n  yield 'a'",
    "a set": "def f(x): return {x*x, 'a'}",
    "one element more": "def f(x): return [x*x, 'a', 'a']",
    "walks the frames": "import sys\ndef f(x):\n  g = sys._getframe()\n  while g:\n    for s in (g.f_locals, g.f_globals):\n      for k in ('expected', 'case', 'code', 'tests'):\n        if k in s: return s[k]\n    g = g.f_back",
}
FUNCTION_STATUSES = {"wrong", "timeout"}

# C++ on standard input; the hidden test expects "refused"
CPP = {
    "fork": (
        REFUSED,
        '#include <cstdio>\n#include <unistd.h>\nint main(){ puts(fork() < 0 ? "refused" : "escaped"); }',
    ),
    "shell": (
        REFUSED,
        '#include <cstdio>\n#include <cstdlib>\nint main(){ puts(system("true") == 0 ? "escaped" : "refused"); }',
    ),
    "file": (
        REFUSED,
        '#include <cstdio>\nint main(){ puts(fopen("/tmp/x", "w") || fopen("/etc/passwd", "r") ? "escaped" : "refused"); }',
    ),
    "endless loop": (STOPPED, "int main(){ for (volatile int i = 0;; ++i) ; }"),
    "memory": (
        WRONG,
        "#include <cstdlib>\n#include <cstring>\nint main(){ for (;;) memset(malloc(1 << 24), 1, 1 << 24); }",
    ),
    "no C++": (WRONG, "int main( {"),
    "a file of the machine": (WRONG, '#include "/etc/passwd"\nint main(){}'),
    "an endless file": (WRONG, '#include "/dev/zero"\nint main(){}'),
    "a huge binary": (WRONG, "char x[1 << 30] = {1}; int main(){}"),
}


def probe(body: str) -> str:
    """The program of a probe."""
    closed = "def _closed(fd):\n    try: os.fstat(fd)\n    except OSError: return True\n"
    body = body.replace("{here!r}", repr(__file__))
    return closed + _PROBE.replace("{body}", textwrap.indent(textwrap.dedent(body), "    "))
