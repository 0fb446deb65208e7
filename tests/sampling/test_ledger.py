"""The ledger on a real disk: what was acknowledged survives a kill, what is damaged is asked again."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.provenance.artifacts import ArtifactError
from tasks.sampling.ledger import Ledger, digest

WRITE = """
import sys
from pathlib import Path
from tasks.sampling.ledger import Ledger
with Ledger(Path(sys.argv[1])) as ledger:
    for i in range(len(ledger), 10**6):
        ledger.add(f"key {i}", ["text " * (i % 50), i])
        print(i, flush=True)
"""


def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path):
    path, acknowledged = tmp_path / "ledger.jsonl", -1
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    for turn in range(1, 4):
        process = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], env=env, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged >= 120 * turn:
                with pytest.raises(ArtifactError, match="being written by another process"):
                    Ledger(path)
                process.send_signal(signal.SIGKILL)
                break
        acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))])
        process.wait()
        with Ledger(path) as ledger:
            assert acknowledged < len(ledger) <= acknowledged + 2
            assert all(ledger.get(f"key {i}") == ["text " * (i % 50), i] for i in range(len(ledger)))


def test_a_torn_line_is_cut_off_wherever_it_is_torn(tmp_path, caplog):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.add("a", 1)
        whole = path.stat().st_size
        ledger.add("b", "zwei — 二")
    lines = path.read_bytes()
    for cut in range(whole + 1, len(lines)):
        path.write_bytes(lines[:cut])
        with Ledger(path) as ledger:
            assert (ledger.get("a"), ledger.get("b"), len(ledger)) == (1, None, 1)
            ledger.add("b", "again")
        with Ledger(path) as ledger:
            assert (ledger.get("a"), ledger.get("b")) == (1, "again")
    assert caplog.text.count("torn by a kill") == len(lines) - whole - 1


def test_what_a_full_disk_refused_is_nowhere_and_is_not_written_later(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.add("a", 1)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 30, hard))  # room for a part of the next line
        try:
            with pytest.raises(OSError):
                ledger.add("b", "x" * 100)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "b" not in ledger
        ledger.add("c", 3)
        assert (ledger.get("a"), ledger.get("c")) == (1, 3)
    assert path.read_bytes().count(b"\n") == 2
    with Ledger(path) as ledger:
        assert (ledger.get("a"), ledger.get("b"), ledger.get("c")) == (1, None, 3)


def test_any_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.add("a", 1)
        ledger.add("b", 2)
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for at in range(second):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with Ledger(path) as ledger:
            assert ledger.get("a") is None and (at == second - 1 or ledger.get("b") == 2), at


def test_a_line_damaged_while_it_is_open_is_noticed(tmp_path, caplog):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.add("a", "value")
        path.write_bytes(path.read_bytes().replace(b"value", b"eulav"))
        assert "a" in ledger and ledger.get("a") is None and "a" not in ledger
    assert "damaged since it was read" in caplog.text


def test_the_key_is_of_all_that_was_asked():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
