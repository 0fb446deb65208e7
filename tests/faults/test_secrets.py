"""Tokens and keys in the environment are nowhere afterwards: logs, manifests, dvc.lock, run books, reports, the sandbox."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.all_of_it import all_of_it

SECRETS = {
    "HF_TOKEN": "hf_CanaryTokenOfTheHub",
    "HUGGING_FACE_HUB_TOKEN": "hf_CanaryTokenOfTheHubAsItWasOnce",
    "AWS_ACCESS_KEY_ID": "AKIACANARYACCESSKEY",
    "AWS_SECRET_ACCESS_KEY": "CanarySecretAccessKeyOfTheBucket",
    "AWS_SESSION_TOKEN": "CanarySessionTokenOfTheBucket",
    "OPENAI_API_KEY": "sk-CanaryKeyOfTheEndpoint",
    "PREFECT_API_KEY": "pnu_CanaryKeyOfTheServer",
    "WANDB_API_KEY": "CanaryKeyOfTheTracker",
}


def _finds(folder: Path) -> list[str]:
    """Files below `folder` that hold one of the values; DVC's caches, git's objects and databases included."""
    words = [word for value in SECRETS.values() for word in ("-e", value)]
    found = subprocess.run(["grep", "-rlaF", *words, str(folder)], capture_output=True, text=True, check=False)
    assert found.returncode in (0, 1), found.stderr
    return found.stdout.splitlines()


def test_the_search_finds_what_it_looks_for(tmp_path):
    (tmp_path / "a.db").write_bytes(b"\0\1" + SECRETS["HF_TOKEN"].encode() + b"\0")
    assert _finds(tmp_path) == [str(tmp_path / "a.db")]


def test_nothing_that_a_run_leaves_holds_a_secret(toy):
    toy.set("grow.plants.fir.fail_at", 1)  # a traceback among the logs
    said = toy.r1("run", ok=False, **SECRETS)
    assert toy.has("work/logs/grow@fir.log") and toy.has("work/runs/grow@oak.json") and toy.has("dvc.lock")
    assert "the frost came" in said and toy.has("data/03_grow/oak")
    assert not [value for value in SECRETS.values() if value in said]
    assert not _finds(toy.root)


@all_of_it
def test_nor_what_dvc_says_and_the_report(toy):
    said = toy.dvc("repro", "-v", **SECRETS) + toy.r1("status", **SECRETS)
    assert toy.has("report/report.md") and not [value for value in SECRETS.values() if value in said]
    assert not _finds(toy.root)


PROGRAM = f"""
import os
names, values = {list(SECRETS)!r}, {list(SECRETS.values())!r}
seen = [n for n in names if n in os.environ]
for path in ("/proc/self/environ", "/proc/1/environ"):
    try:
        seen += [v for v in values if v in open(path, errors="replace").read()]
    except OSError:
        pass
print(len(seen), "PYTHONHASHSEED" in os.environ)
"""
VERIFY = """
import json, sys
from tasks.verification.code.jail import SandboxMissing
from tasks.verification.verify import verify
tests = {"kind": "stdio", "cases": [{"input": "", "output": "0 True"}]}
row = {"id": "p", "domain": "code", "gold": None, "meta": json.dumps({"tests": tests, "language": "python"})}
if __name__ == "__main__":
    try:
        print(verify(row, "<think>.</think>\\n```python\\n" + sys.argv[1] + "\\n```").status)
    except SandboxMissing as missing:
        print("skip", missing)
"""


def test_a_verified_program_sees_no_secret(tmp_path):
    """A program that counts the secrets it can see, in its environment and its keeper's; it must print 0."""
    (tmp_path / "verify.py").write_text(VERIFY)
    env = os.environ | SECRETS | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, str(tmp_path / "verify.py"), PROGRAM]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.stdout.startswith("skip"):
        pytest.skip(done.stdout)
    assert done.stdout == "ok\n", done.stdout + done.stderr
