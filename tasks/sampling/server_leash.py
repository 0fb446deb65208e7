"""Runs a command until it ends or until the process that started this one is gone: `server_leash.py STARTER COMMAND…`.

A server starts processes of its own and, killed in its first seconds, leaves them behind. So between it and who wants it
stands this small one: the kernel tells it when its starter has died (PR_SET_PDEATHSIG), and it ends the whole group.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
GRACE = 10.0  # seconds between SIGTERM and SIGKILL


def main() -> None:
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: None
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that started this one is gone")
    server = subprocess.Popen(sys.argv[2:], preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM))  # noqa: PLW1509
    while server.poll() is None and not asked:
        time.sleep(0.1)
    if asked:
        server.terminate()
        try:
            server.wait(GRACE)
        finally:
            os.killpg(0, signal.SIGKILL)  # with all that it left behind, and this process
    if server.returncode < 0:  # end as it did; its children are the keeper's to end
        if server.returncode != -signal.SIGKILL:
            signal.signal(-server.returncode, signal.SIG_DFL)
        os.kill(os.getpid(), -server.returncode)
    sys.exit(server.returncode)


if __name__ == "__main__":
    main()
