"""The process behind workers.py: one JSON job a line on stdin, one JSON answer a line on stdout.

Each job runs under a CPU-time limit (a profiling timer whose signal is left to kill the process: an integer power
inside one C call cannot be interrupted in any other way) and the whole process under an address-space limit.
"""

import json
import os
import resource
import signal
import sys


def logic(task: str, entry: dict, answer: str) -> tuple[str, str, str]:
    """reasoning-gym's own scorer; only its full score is right."""
    import reasoning_gym

    score = float(reasoning_gym.get_score_answer_fn(task)(answer=answer, entry=entry))
    return ("ok" if score == 1.0 else "wrong"), "logic/scorer", f"score {score:g}"


def answer(job: dict) -> dict:
    """What became of one job; only a limit or a fault of ours ends in anything but ok, wrong, unparsable."""
    try:
        if job["kind"] == "gold":
            from tasks.verification.equivalence import check_gold

            return {"problem": check_gold(job["gold"])}
        if job["kind"] == "logic":
            status, method, detail = logic(job["task"], job["entry"], job["answer"])
        else:
            from tasks.verification.equivalence import compare

            status, method, detail = compare(job["gold"], job["answer"])
        return {"status": status, "method": method, "detail": detail}
    except MemoryError:
        return {"limit": "memory"}
    except RecursionError:
        return {"limit": "recursion depth"}
    except Exception as error:  # the libraries raise anything on odd input: no verdict, and the reason kept
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def preload(kind: str) -> None:
    """Imports are not charged to a job."""
    if kind == "logic":
        import reasoning_gym  # noqa: F401
    else:
        import math_verify  # noqa: F401


def main(cpu_seconds: float, memory: int) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints must not speak into the protocol
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it closes stdin
    for line in sys.stdin:
        job = json.loads(line)
        preload(job["kind"])
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        reply = answer(job)
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write(json.dumps(reply) + "\n")
        out.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
