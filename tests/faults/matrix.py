"""The fault matrix: who is killed × when, for every stage of a built checkout; then it is run again and compared.

    python -m tests.faults.matrix CHECKOUT --out cells.jsonl [--stages dev1 r1 …]   # goes on where it was stopped
    python -m tests.faults.table cells.jsonl                 # docs/reliability.md from the cells

The processes are real and so is SIGKILL. The moment is exact: the stage, or dvc, stops by itself where
freeze/sitecustomize.py says, and is killed there, or what started it is, or all of them at once. Kills of a stage are
chained: each begins with what the one before has left. After every kill nothing may be left running, every name is
without an artifact or has a whole one, byte for byte that of the uninterrupted run. After the last one `r1 run` ends
the chain, and dvc.lock must have the md5s of the uninterrupted run.
"""

import argparse
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from flows.orchestration import guard
from flows.orchestration.dag import Node, load_dag
from tests.toy.project import BIN, Toy

FREEZE = Path(__file__).resolve().parent / "freeze"
TARGETS = ("stage", "dvc", "flow", "group")
PUBLISHING = ("link", "between", "exchanged", "cleaning")
PATIENCE = 600.0  # seconds for one step on a loaded machine
DEATH = 20.0  # seconds in which all must be gone


@dataclass
class Cell:
    """One kill and what was seen after it; `wrong` is empty where the promise held."""

    stage: str
    moment: str
    target: str
    seconds: float = 0.0
    left: dict[str, int] = field(default_factory=dict)  # absent, whole: how many of the stage's outs, metrics, plots
    wrong: list[str] = field(default_factory=list)
    note: str = ""


def digest(path: Path) -> str | None:
    """Of a file, or of all names and contents below a folder; None where nothing is."""
    if not path.exists():
        return None
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    lines = [f"{p.relative_to(path)} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Matrix:
    """A checkout with everything built and its dvc.lock committed; what the uninterrupted run made is the reference."""

    def __init__(self, root: Path, out: Path | None = None):
        self.toy, self.root, self.out = Toy(root), root, out
        self.dag = load_dag(root)
        self.lock = yaml.safe_load((root / "dvc.lock").read_text())
        self.reference = {path: digest(root / path) for node in self.dag.nodes.values() for path in node.writes}
        assert all(self.reference.values()), "not everything is built"
        self.scratch = Path(tempfile.mkdtemp(prefix="freeze-"))
        self.count = itertools.count()

    def chain(self, stage: str, part: str) -> list[Cell]:
        """Kill after kill of one stage, then `r1 run` and the comparison; `part`: of CHAINS."""
        node, turn = self.dag[stage], list(self.dag.nodes).index(stage)
        self._make_stale(stage)
        cells = [self._told(self._kill(node, moment, target)) for moment, target in CHAINS[part](turn)]
        cells.append(self._told(self._finish(node, part)))
        return cells

    def _make_stale(self, stage: str) -> None:
        """As if the stage had never run: neither dvc.lock nor DVC's caches know it."""
        lock = {**self.lock, "stages": {s: entry for s, entry in self.lock["stages"].items() if s != stage}}
        (self.root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
        shutil.rmtree(self.root / "work" / stage, ignore_errors=True)
        for out in self.lock["stages"][stage]["outs"]:
            self._forget(out["md5"])

    def _forget(self, md5: str) -> None:
        """Remove an object from DVC's cache, a folder's with all it lists."""
        path = self.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        if path.suffix == ".dir" and path.is_file():
            for entry in json.loads(path.read_text()):
                self._forget(entry["md5"])
        path.unlink(missing_ok=True)

    def _kill(self, node: Node, moment: str, target: str) -> Cell:
        cell, began = Cell(node.stage, moment, target), time.monotonic()
        shutil.rmtree(self.root / ".dvc/cache/runs", ignore_errors=True)
        mark, frozen = f"{os.getpid()}-{next(self.count)}", self.scratch / f"frozen-{next(self.count)}"
        process = self._start(node.stage, moment, target, mark, frozen)
        end = time.monotonic() + PATIENCE
        while not (frozen.exists() and frozen.read_text()) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        if not (frozen.exists() and frozen.read_text()):
            self._end(marked(mark))
            cell.wrong.append(f"never came to this moment: {self._log(mark)[-300:]}")
            return cell
        if moment == "body":
            self._refuse_second_writer(node, cell)
        alive = marked(mark)
        victims = {"stage": [int(frozen.read_text())], "group": marked(mark)}.get(target, [process.pid])
        self._end(victims)
        cell.seconds = self._until_gone(process, mark, cell)
        _await_burial(process, alive)
        if process.wait() == 0:
            cell.wrong.append("the run that was killed ended with status 0")
        self._look(node, cell)
        cell.note = f"{time.monotonic() - began:.0f} s"
        return cell

    def _start(self, stage: str, moment: str, target: str, mark: str, frozen: Path) -> subprocess.Popen:
        who = "dvc" if moment in ("cache", "lock") else "stage"
        env = self.toy.env(
            PYTHONPATH=f"{FREEZE}{os.pathsep}{self.root}",
            R1_FREEZE=f"{who}:{stage}:{moment}",
            R1_FROZEN=str(frozen),
            R1_MARK=mark,
            SHELL=("/bin/bash", "/bin/sh")[TARGETS.index(target) % 2],
        )
        if target in ("stage", "dvc"):
            command = [str(BIN / "dvc"), "repro", "--single-item", stage]
        else:
            command = [*self.toy.r1_command("run", stage)]
        with open(self.scratch / f"{mark}.log", "w") as log:
            return subprocess.Popen(
                command,
                cwd=self.root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _log(self, mark: str) -> str:
        return (self.scratch / f"{mark}.log").read_text()

    @staticmethod
    def _end(pids: list[int]) -> None:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _until_gone(self, process: subprocess.Popen, mark: str, cell: Cell) -> float:
        """Seconds until nothing of the run is alive; who outlives it by too much is ended and named."""
        begun = time.monotonic()
        while time.monotonic() - begun < DEATH:
            process.poll()
            if not (alive := marked(mark)):
                return round(time.monotonic() - begun, 2)
            time.sleep(0.02)
        cell.wrong.append(f"still alive {DEATH:.0f} s later: {[command_of(pid) for pid in alive]}")
        self._end(alive)
        return DEATH

    def _refuse_second_writer(self, node: Node, cell: Cell) -> None:
        command = self.toy.stage_command(*node.stage.split("@"))
        env = self.toy.env(PYTHONPATH=str(self.root))
        second = subprocess.run(
            command, cwd=self.root, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if second.returncode == 0 or guard.BUSY not in second.stderr:
            cell.wrong.append(f"a second writer was let in: {second.stderr[-300:]}")

    def _look(self, node: Node, cell: Cell) -> None:
        """Every declared path holds nothing or a whole artifact."""
        for path in node.writes:
            found = digest(self.root / path)
            state = {None: "absent", self.reference[path]: "whole"}.get(found, "half")
            cell.left[state] = cell.left.get(state, 0) + 1
            if state == "half":
                cell.wrong.append(f"{path} holds half an artifact")

    def _finish(self, node: Node, part: str) -> Cell:
        cell, began = Cell(node.stage, "again", part), time.monotonic()
        env = self.toy.env(PYTHONPATH=str(self.root))
        command = self.toy.r1_command("run", node.stage)
        done = subprocess.run(
            command, cwd=self.root, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode:
            cell.wrong.append(f"ended with {done.returncode}: {(done.stdout + done.stderr)[-600:]}")
        self._look(node, cell)
        found = yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]
        for stage, entry in self.lock["stages"].items():
            if found.get(stage, {}).get("outs") != entry["outs"]:
                cell.wrong.append(f"dvc.lock has other md5s for {stage}")
        for folder in ("data", "metrics", "plots", "report"):
            if leftovers := [p for p in (self.root / folder).rglob(".*") if p.name != ".gitignore"]:
                cell.wrong.append(f"left over: {leftovers[0].relative_to(self.root)}")
        if (self.root / "work" / node.stage).exists():
            cell.wrong.append(f"left over: work/{node.stage}")
        cell.seconds = round(time.monotonic() - began, 1)
        return cell

    def _told(self, cell: Cell) -> Cell:
        if self.out:
            with open(self.out, "a") as file:
                file.write(json.dumps(cell.__dict__) + "\n")
            print(
                f"{cell.stage:24} {cell.moment:10} {cell.target:6} {'; '.join(cell.wrong) or 'as promised'}", flush=True
            )
        return cell


def _await_burial(process: subprocess.Popen, pids: list[int]) -> None:
    """Wait until nobody's process table has them: to DVC an orphan whom init has not yet buried holds its locks."""
    end = time.monotonic() + DEATH
    while time.monotonic() < end and any(Path(f"/proc/{pid}").exists() for pid in pids):
        process.poll()
        time.sleep(0.02)


def marked(mark: str) -> list[int]:
    """The living processes that this run started, in whichever session, group or folder."""
    wanted, found = f"R1_MARK={mark}".encode(), []
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            state = (proc / "stat").read_text().rsplit(")", 1)[1].split()[0]
            if state not in "ZX" and wanted in (proc / "environ").read_bytes().split(b"\0"):
                found.append(int(proc.name))
        except OSError:
            continue
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "?"


def kills(turn: int) -> list[tuple[str, str]]:
    """The kills of one stage: all four targets at start, middle and publish, whose exact points take turns."""
    middle = [(("body", "seal")[(turn + i) % 2], target) for i, target in enumerate(TARGETS)]
    publish = [(PUBLISHING[(turn + i) % 4], target) for i, target in enumerate(TARGETS)]
    publish.sort(key=lambda cell: PUBLISHING.index(cell[0]))  # after `cleaning` the work is spent
    return [("start", target) for target in TARGETS] + middle + publish


def commits(turn: int) -> list[tuple[str, str]]:
    """While dvc records the stage: the stage itself has ended."""
    return [("cache", ("dvc", "flow", "group")[turn % 3]), ("lock", ("dvc", "flow", "group")[(turn + 1) % 3])]


def few(turn: int) -> list[tuple[str, str]]:
    """Each target and each part of a stage's life once: what CI has time for."""
    return [("start", "stage"), ("body", "flow"), ("between", "dvc"), ("lock", "group")]


PARTS = {"kills": kills, "commits": commits}  # all of the matrix
CHAINS = PARTS | {"few": few}


def finished(out: Path) -> set[tuple[str, str]]:
    """(stage, part) of the chains that a file of cells has to their end."""
    cells = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    return {(cell["stage"], cell["target"]) for cell in cells if cell["moment"] == "again"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stages", nargs="*", help="default: all")
    args = parser.parse_args()
    matrix, failed = Matrix(args.checkout.resolve(), args.out), 0
    for part, stage in itertools.product(PARTS, args.stages or matrix.dag.nodes):
        if (stage, part) not in finished(args.out):
            failed += sum(bool(cell.wrong) for cell in matrix.chain(stage, part))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
