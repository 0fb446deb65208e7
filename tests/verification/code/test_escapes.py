"""No attack leaves the sandbox or passes, whoever runs it, and none leaves a process behind."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tasks.verification.code import jail
from tests.verification.code import attacks, run_attacks

ROOT = Path(__file__).resolve().parents[3]
NEEDED = ("tasks/verification/code", "tasks/verification/verdict.py", "tests/verification/code")
pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason=f"bubblewrap is not installed: {jail.INSTALL}")


def as_root() -> list[str]:
    return [sys.executable, str(ROOT / "tests/verification/code/run_attacks.py")]


def as_user(folder: Path) -> list[str]:
    """The same by nobody, who may read neither this checkout nor perhaps the interpreter: a copy and a bind mount."""
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, folder / name)
    python = folder / "python"
    python.mkdir()
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    inside = Path(os.path.realpath(sys._base_executable)).relative_to(sys.base_prefix)
    script = (
        f"mount --bind {sys.base_prefix} {python} && cd / && "
        f"exec setpriv --reuid 65534 --regid 65534 --clear-groups {python / inside} {folder}/tests/verification/code/run_attacks.py"
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


def attack(command: list[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"})
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_there_are_enough_attacks():
    labels = run_attacks.jobs()
    assert len(labels) == len(run_attacks.expected()) >= 200
    assert len(attacks.PROBES) >= 100 and len(attacks.FUNCTIONS) >= 30 and len(attacks.PROGRAMS) >= 30


def test_a_probe_that_nothing_stops_says_so(capsys):
    """The probes can fail: one that does what is allowed prints what no hidden test expects."""
    exec(compile(attacks.probe("os.getpid()"), "probe", "exec"), {})
    assert capsys.readouterr().out == "escaped\n"


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_every_attack_is_contained(user):
    root = os.getuid() == 0
    if user == "root" and not root:
        pytest.skip("not run by root: the other half runs the attacks as this user")
    if user == "root" or not root:
        found = attack(as_root())
    else:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            os.chmod(folder, 0o755)
            found = attack(as_user(Path(folder)))
    assert found["uid"] == (65534 if user == "nobody" and root else os.getuid())
    statuses = run_attacks.expected()
    assert found["verdicts"].keys() == statuses.keys()
    assert {k: v for k, v in found["verdicts"].items() if v[0] not in statuses[k]} == {}
    assert found["seen"] > 4 and found["survivors"] == []
