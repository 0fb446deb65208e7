"""The toy recipe as a project of its own: git, DVC, this repository's orchestration, stages of a second."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from flows.orchestration import guard
from tests.once import once

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
BIN = Path(sys.executable).parent


def _hears_interrupts() -> None:
    """A test run in the background ignores SIGINT, and what it starts would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Toy:
    root: Path

    def copy(self, root: Path) -> "Toy":
        shutil.copytree(self.root, root, symlinks=True)
        return Toy(root)

    def env(self, **more: str) -> dict[str, str]:
        dropped = ("PREFECT", "R1_", "DVC_", "OMP_", "PYTHONHASHSEED")
        env = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        own = guard.environment(1) | {  # else every stage would start anew to have it: test_stage.py sees to that
            "PATH": f"{BIN}{os.pathsep}{env['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.root / ".site"),
            "R1_SLOTS_DIR": str(self.root / ".slots"),  # stages of a second take no turns with what else runs here
            "R1_CPU_SLOTS": "4",
        }
        return env | own | more

    def start(self, *command: str, stdin: int = subprocess.DEVNULL, **env: str) -> subprocess.Popen:
        pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.root, env=self.env(**env), preexec_fn=_hears_interrupts, **pipes)

    def call(self, *command: str, ok: bool = True, **env: str) -> str:
        """Run to the end; its output. `ok=False` expects a failure."""
        process = self.start(*command, **env)
        said, _ = process.communicate(timeout=240)
        assert (process.returncode == 0) is ok, f"{command} ended with {process.returncode}:\n{said}"
        return said

    def stage(self, *names: str, ok: bool = True, **env: str) -> str:
        return self.call(*self.stage_command(*names), ok=ok, **env)

    def stage_command(self, name: str, *item: str) -> tuple[str, ...]:
        return (sys.executable, "-m", f"flows.{name}", *item)

    def r1(self, *args: str, ok: bool = True, **env: str) -> str:
        return self.call(*self.r1_command(*args), ok=ok, **env)

    def r1_command(self, *args: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "flows.cli.main", *args)

    def dvc(self, *args: str, ok: bool = True, **env: str) -> str:
        return self.call(str(BIN / "dvc"), *args, ok=ok, **env)

    def git(self, *args: str) -> str:
        who = ("-c", "user.name=toy", "-c", "user.email=toy@example.org")
        return self.call("git", *who, *args)

    def set(self, key: str, value) -> None:
        """Set one value of params.yaml; None deletes the key."""
        path = self.root / "params.yaml"
        values = yaml.safe_load(path.read_text())
        *folders, last = key.split(".")
        inner = values
        for folder in folders:
            inner = inner[folder]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
        path.write_text(yaml.safe_dump(values, sort_keys=False))

    def md5s(self) -> dict[str, str]:
        """Path -> md5 of every out in dvc.lock."""
        stages = yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]
        return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def has(self, path: str) -> bool:
        return (self.root / path).exists()

    def processes(self) -> dict[int, str]:
        """Process id -> command line of everything that runs in this project's folder."""
        found = {}
        for proc in Path("/proc").glob("[0-9]*"):
            try:
                if Path(os.readlink(proc / "cwd")) == self.root and (command := (proc / "cmdline").read_bytes()):
                    found[int(proc.name)] = command.replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found


def until(condition, seconds: float = 30.0, what: str = "condition"):
    """Wait for a truthy value and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


def build(root: Path) -> Toy:
    shutil.copytree(HERE, root, ignore=shutil.ignore_patterns("project.py", "__pycache__"))
    (root / "stages.yaml").rename(
        root / "dvc.yaml"
    )  # of that name here, DVC would take it for a part of this repository
    shutil.copy(REPO / "flows" / "__init__.py", root / "flows" / "__init__.py")
    for name in ("flows/orchestration", "flows/cli", "tasks"):
        (root / name).symlink_to(REPO / name)
    (root / ".gitignore").write_text("/work/\n/data/\n/report/\n__pycache__/\n/.site/\n/.slots/\n")
    toy = Toy(root)
    toy.git("init", "-q")
    toy.dvc("init", "-q")
    toy.git("add", ".")
    toy.git("commit", "-qm", "toy")
    return toy


@pytest.fixture(scope="session")
def toy_template(tmp_path_factory) -> Toy:
    return Toy(once(tmp_path_factory, "toy", lambda folder: build(folder / "toy")) / "toy")


@pytest.fixture
def toy(toy_template, tmp_path) -> Toy:
    """A project of four stages with this repository's orchestration, nothing built yet."""
    return toy_template.copy(tmp_path / "toy")


def _after(factory, template: Toy, name: str, do: Callable[[Toy], object]) -> Toy:
    return Toy(once(factory, name, lambda folder: do(template.copy(folder / "toy"))) / "toy")


@pytest.fixture(scope="session")
def sown_template(toy_template, tmp_path_factory) -> Toy:
    return _after(tmp_path_factory, toy_template, "sown", lambda toy: toy.stage("numbers"))


@pytest.fixture
def sown(sown_template, tmp_path) -> Toy:
    """The project after `python -m flows.numbers`, of which DVC knows nothing."""
    return sown_template.copy(tmp_path / "toy")


@pytest.fixture(scope="session")
def oak_template(toy_template, tmp_path_factory) -> Toy:
    """After `dvc repro grow@oak`, nothing of it committed: copy it."""
    return _after(tmp_path_factory, toy_template, "oak", lambda toy: toy.dvc("repro", "grow@oak"))


@pytest.fixture(scope="session")
def whole_template(toy_template, tmp_path_factory) -> Toy:
    """After `dvc repro`, its dvc.lock not committed: copy it."""
    return _after(tmp_path_factory, toy_template, "whole", lambda toy: toy.dvc("repro"))
