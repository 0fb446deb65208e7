"""A domain whose jobs misbehave on demand: what the workers are tested with."""

import os
import time

NAME = "unruly"
LIBRARIES = ()
RUNS = "process"
kept = []  # a leak


def work(job: dict):
    return globals()[job["do"]](job)


def fine(job):
    return "ok", "unruly", job.get("say", "")


def burn(job):
    while True:
        pass


def burn_in_c(job):
    return "ok", "unruly", str(3 ** (10**9))  # one call, deaf to Python's signal handlers


def regex(job):
    import re

    return "ok", "unruly", str(re.match(r"(a+)+$", "a" * 60 + "b"))


def sleep(job):
    time.sleep(job["seconds"])
    return fine(job)


def allocate(job):
    return "ok", "unruly", str(len(bytearray(1 << 40)))


def hoard(job):
    kept.append([0] * 10**9)
    return fine(job)


def recurse(job):
    return recurse(job)


def segfault(job):
    import ctypes

    ctypes.string_at(0)


def end(job):
    os._exit(0)


def shout(job):
    os.write(1, b"noise\n" * 1000)
    print("noise\n" * 1000, flush=True)
    return fine(job)


def unspeakable(job):
    return object()


def fail(job):
    raise RuntimeError("odd input \ud800")


def pid(job):
    return "ok", "unruly", str(os.getpid())


def niceness(job):
    end = time.process_time() + job.get("after", 0)
    while time.process_time() < end:
        pass
    return "ok", "unruly", str(os.nice(0))


def backends(job):
    import sys

    import mpmath.libmp
    import sympy.external.gmpy

    return "ok", "unruly", f"{mpmath.libmp.BACKEND} {sympy.external.gmpy.GROUND_TYPES} {sys.modules.get('gmpy2')}"
