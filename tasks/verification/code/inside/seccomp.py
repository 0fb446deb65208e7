"""The system calls that a jail may make: BPF programs built from lists of names, and their installation.

Everything not named is refused with EPERM, so what a later kernel brings is refused too. Two lists: WARDEN, for all
that
runs in the jail (handed to bubblewrap), and the shorter PROGRAM, put on top of it in the process of an untrusted
program
just before it starts: no new process, no signal to another process, no socket, no new file descriptor that holds
memory.
Used on both sides of the wall, so it imports only the standard library.
"""

import ctypes
import errno
import platform
import struct

CLONE_THREAD = 0x00010000
CLONE_NAMESPACES = 0x7E020080  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
NEWEST = 450  # above it: ENOSYS, so that a C library falls back to what it used before

# name: (x86_64, aarch64); -1 where the architecture has no such call
_FILES = {
    "read": (0, 63), "write": (1, 64), "open": (2, -1), "openat": (257, 56), "close": (3, 57), "stat": (4, -1),
    "fstat": (5, 80), "lstat": (6, -1), "newfstatat": (262, 79), "statx": (332, 291), "statfs": (137, 43),
    "fstatfs": (138, 44), "lseek": (8, 62), "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65),
    "writev": (20, 66), "access": (21, -1), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, -1),
    "readlinkat": (267, 78), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "getdents64": (217, 61),
    "fcntl": (72, 25), "dup": (32, 23), "dup2": (33, -1), "dup3": (292, 24), "pipe": (22, -1), "pipe2": (293, 59),
    "select": (23, -1), "pselect6": (270, 72), "poll": (7, -1), "ppoll": (271, 73), "epoll_create": (213, -1),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, -1), "epoll_pwait": (281, 22),
    "eventfd2": (290, 19), "fadvise64": (221, 223), "umask": (95, 166), "close_range": (436, 436),
}  # fmt: skip
_MEMORY = {
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216),
    "madvise": (28, 233), "mincore": (27, 232), "membarrier": (324, 283),
}  # fmt: skip
_PROCESS = {
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "pause": (34, -1),
    "tgkill": (234, 131), "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getresuid": (118, 148), "getresgid": (120, 150),
    "getgroups": (115, 158), "getpgrp": (111, -1), "getpgid": (121, 155), "getsid": (124, 156), "uname": (63, 160),
    "sysinfo": (99, 179), "getrusage": (98, 165), "times": (100, 153), "getrlimit": (97, 163), "setrlimit": (160, 164),
    "getpriority": (140, 141), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120), "getcpu": (309, 168), "arch_prctl": (158, -1), "set_tid_address": (218, 96),
    "set_robust_list": (273, 99), "get_robust_list": (274, 100), "rseq": (334, 293), "futex": (202, 98),
    "futex_waitv": (449, 449), "getrandom": (318, 278), "exit": (60, 93), "exit_group": (231, 94),
    "restart_syscall": (219, 128),
}  # fmt: skip
_TIME = {
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "time": (201, -1), "alarm": (37, -1), "setitimer": (38, 103), "getitimer": (36, 102),
    "timer_create": (222, 107), "timer_settime": (223, 110), "timer_gettime": (224, 108), "timer_getoverrun": (225, 109),
    "timer_delete": (226, 111),
}  # fmt: skip
_CONDITIONAL = {"clone": (56, 220), "ioctl": (16, 29), "prctl": (157, 167), "prlimit64": (302, 261)}
_ENOSYS = {"clone3": (435, 435), "openat2": (437, 437)}
_EXECUTE = {"execve": (59, 221), "execveat": (322, 281)}
_SUPERVISE = {  # what the warden and a compiler do besides
    "fork": (57, -1), "vfork": (58, -1), "wait4": (61, 260), "waitid": (247, 95), "kill": (62, 129),
    "setuid": (105, 146), "setgid": (106, 144), "setresuid": (117, 147), "setresgid": (119, 149),
    "setgroups": (116, 159), "setpgid": (109, 154), "setsid": (112, 157), "seccomp": (317, 277), "capget": (125, 90),
    "sendmsg": (46, 211), "recvmsg": (47, 212), "sendto": (44, 206), "recvfrom": (45, 207), "getsockname": (51, 204),
    "getsockopt": (55, 209), "setsockopt": (54, 208), "unlink": (87, -1), "unlinkat": (263, 35), "rename": (82, -1),
    "renameat": (264, 38), "renameat2": (316, 276), "mkdir": (83, -1), "mkdirat": (258, 34), "rmdir": (84, -1),
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "ftruncate": (77, 46), "truncate": (76, 45),
    "fallocate": (285, 47), "fsync": (74, 82), "utimensat": (280, 88), "creat": (85, -1), "sync_file_range": (277, 84),
}  # fmt: skip

PROGRAM = {**_FILES, **_MEMORY, **_PROCESS, **_TIME}
WARDEN = {**PROGRAM, **_SUPERVISE, **_EXECUTE}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_TERMINAL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # isatty, window size, FIONREAD, FIONBIO, close-on-exec
_THREAD_NAME = (15, 16)


def _op(code: int, k: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, k & 0xFFFFFFFF)


def _refuse(number: int) -> bytes:
    return _op(_RETURN, _ERRNO | number)


def _when(number: int, body: bytes) -> bytes:
    """`body` where the call (in the accumulator) has this number; every body returns."""
    return _op(_EQUAL, number, 0, len(body) // 8) + body


def _argument_in(index: int, values: tuple[int, ...]) -> bytes:
    """Allow where the low word of an argument is one of these values, else EPERM."""
    tests = b"".join(_op(_EQUAL, v, len(values) - i, 0) for i, v in enumerate(values))
    return _op(_LOAD, _ARGUMENTS + 8 * index) + tests + _refuse(errno.EPERM) + _op(_RETURN, _ALLOW)


def bpf(names: dict[str, tuple[int, int]], supervise: bool = False, execute: bool = False) -> bytes:
    """A BPF program that allows these calls. `supervise`: new processes, not only threads; `execute`: execveat."""
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        raise OSError(f"the code sandbox has no system-call list for {machine}; it runs on {' and '.join(_AUDIT_ARCH)}")
    column = list(_AUDIT_ARCH).index(machine)
    out = _op(_LOAD, _ARCH) + _op(_EQUAL, _AUDIT_ARCH[machine], 1, 0) + _op(_RETURN, _KILL) + _op(_LOAD, _NUMBER)
    if execute:
        names = {**names, "execveat": _EXECUTE["execveat"]}
    for name, numbers in {**_ENOSYS, **names, **_CONDITIONAL}.items():
        if numbers[column] >= 0:
            out += _when(numbers[column], _body(name, supervise))
    return out + _op(_AT_LEAST, NEWEST + 1, 0, 1) + _refuse(errno.ENOSYS) + _refuse(errno.EPERM)


def _body(name: str, supervise: bool) -> bytes:
    if name in _ENOSYS:
        return _refuse(errno.ENOSYS)
    if name == "clone":
        flags = _op(_LOAD, _ARGUMENTS)
        if supervise:
            return flags + _op(_ANY_BIT, CLONE_NAMESPACES, 0, 1) + _refuse(errno.EPERM) + _op(_RETURN, _ALLOW)
        return flags + _op(_ANY_BIT, CLONE_THREAD, 1, 0) + _refuse(errno.EPERM) + _op(_RETURN, _ALLOW)
    if name == "ioctl":
        return _argument_in(1, _TERMINAL)
    if name == "prctl" and not supervise:
        return _argument_in(0, _THREAD_NAME)
    if name == "prlimit64" and not supervise:
        return _argument_in(0, (0,))  # its own limits only, and all but the stack's are hard
    return _op(_RETURN, _ALLOW)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def install(code: bytes) -> None:
    """Puts a BPF program on the calling process, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the system-call filter was not accepted")
