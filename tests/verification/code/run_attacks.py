"""Runs the attacks as whoever starts it and prints one JSON object: {label: [status, detail, seconds]}, and the
survivors.

A script of its own, so that a test run by root can also start it as an ordinary user.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tasks.verification.code import domain, jail  # noqa: E402
from tests.verification.code import attacks  # noqa: E402

HIDDEN = {"kind": "stdio", "cases": [{"input": "", "output": "refused\n"}]}
CALLS = {"kind": "call", "entry": "f", "cases": [{"args": [x], "expected": [x * x, "a"]} for x in (2, 3)]}
ASSERTS = {"kind": "asserts", "entry": "f", "code": "assert f(2) == [4, 'a']\nassert f(3) == [9, 'a']\n"}
LIMITS = {"time_s": 0.5, "memory_mb": 256}


def jobs() -> dict[str, tuple[dict, str]]:
    """Every attack as (meta, program)."""
    stdio = LIMITS | {"tests": HIDDEN}
    found = {f"probe: {name}": (stdio, attacks.probe(body)) for name, body in attacks.PROBES.items()}
    found |= {f"program: {name}": (stdio, program) for name, (_, program) in attacks.PROGRAMS.items()}
    found |= {f"called: {name}": (LIMITS | {"tests": CALLS}, program) for name, program in attacks.FUNCTIONS.items()}
    found |= {
        f"asserted: {name}": (LIMITS | {"tests": ASSERTS}, program) for name, program in attacks.FUNCTIONS.items()
    }
    cpp = stdio | {"language": "cpp"}
    return found | {f"C++: {name}": (cpp, program) for name, (_, program) in attacks.CPP.items()}


def expected() -> dict[str, set[str]]:
    """The statuses that mean containment, by the labels of `jobs`."""
    found = {f"probe: {name}": attacks.REFUSED for name in attacks.PROBES}
    found |= {f"program: {name}": statuses for name, (statuses, _) in attacks.PROGRAMS.items()}
    found |= {
        f"{how}: {name}": attacks.FUNCTION_STATUSES for name in attacks.FUNCTIONS for how in ("called", "asserted")
    }
    return found | {f"C++: {name}": statuses for name, (statuses, _) in attacks.CPP.items()}


def descendants() -> dict[int, str]:
    """Processes below this one, with their start times, so that a later process of the same number is another."""
    parents: dict[int, list[tuple[int, str]]] = {}
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (OSError, IndexError):
            continue
        if folder.name.isdigit():
            parents.setdefault(int(fields[1]), []).append((int(folder.name), fields[19]))
    found, todo = {}, [os.getpid()]
    while todo:
        for pid, started in parents.get(todo.pop(), []):
            found[pid] = started
            todo.append(pid)
    return found


def alive(processes: dict[int, str]) -> list[int]:
    out = []
    for pid, started in processes.items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[19] == started and fields[0] != "Z":
            out.append(pid)
    return out


def main() -> None:
    domain.ready()
    todo, seen = jobs(), {}

    def one(label: str) -> list:
        meta, program = todo[label]
        start = time.monotonic()
        status, _, detail = domain.work({"meta": meta, "program": program})
        seen.update(descendants())
        return [status, detail, round(time.monotonic() - start, 2)]

    with ThreadPoolExecutor(4) as threads:
        verdicts = dict(zip(todo, threads.map(one, todo)))
    seen.update(descendants())
    jail.pool().close()
    deadline = time.monotonic() + 5
    while alive(seen) and time.monotonic() < deadline:
        time.sleep(0.05)
    print(json.dumps({"uid": os.getuid(), "verdicts": verdicts, "seen": len(seen), "survivors": alive(seen)}))


if __name__ == "__main__":
    main()
