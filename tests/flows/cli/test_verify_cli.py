"""`r1 verify` as people use it: a process between two pipes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tests.verification.served_judge import Server

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "flows.cli.main", "verify"]
GOOD = {"domain": "maths", "prompt": "1 + 1?", "gold": "2", "completion": "<answer>2</answer>"}
BAD = [  # (line, what the verdict must say)
    (b"{", "is no JSON"),
    (b"[1, 2]", "is a JSON list, no object"),
    (b'"text"', "is a JSON str, no object"),
    (b"\xff\xfe{}", "is no UTF-8 at byte 0"),
    (b"[" * 100_000, "is no JSON"),
    (b"{}", "key 'domain' is missing: give one of maths"),
    (b'{"domain": "poetry", "completion": "x"}', "no verifier for domain 'poetry'"),
    (b'{"domain": ["maths"], "completion": "x"}', "no verifier for domain ['maths']"),
    (b'{"domain": "maths", "gold": "1"}', "key 'completion' is missing"),
    (b'{"domain": "maths", "completion": "<answer>1</answer>"}', "has no gold"),
    (b'{"domain": "maths", "gold": true, "completion": "1"}', "key 'gold' is true or false"),
    (b'{"domain": "maths", "gold": "1", "meta": 5, "completion": "1"}', "key 'meta' is a int"),
    (b'{"domain": "maths", "gold": "1", "meta": "{", "completion": "1"}', "key 'meta' is text that is no JSON"),
    (b'{"domain": "code", "tests": 7, "completion": "1"}', "key 'tests' is neither"),
]


def r1(text: bytes | str, *args) -> tuple[int, list[dict], str]:
    text = text.encode() if isinstance(text, str) else text
    done = subprocess.run([*COMMAND, *args], input=text, capture_output=True, cwd=ROOT, timeout=300)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def here(text: str, *args) -> tuple[int, list[dict], str]:
    """The same by a file and in this process, whose workers have their libraries, where no pipe or process is the point."""
    handler = signal.getsignal(signal.SIGINT)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write(text)
        file.flush()
        done = CliRunner().invoke(app, ["verify", file.name, *args])
    signal.signal(signal.SIGINT, handler)
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def jsonl(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_verdicts_in_order_and_the_summary(tmp_path):
    rows = [
        GOOD | {"id": "a"},
        GOOD | {"id": 7, "completion": "<answer>4/2</answer>"},
        GOOD | {"completion": "<answer>3</answer>"},
        GOOD | {"completion": "2"},
        GOOD | {"completion": None},
        GOOD | {"gold": 2, "completion": "\\boxed{2}"},
        GOOD | {"gold": "\\sqrt{2}", "completion": "<answer>1.41</answer>"},
        GOOD | {"completion": "<answer>\ud800\u2028\u4e2d</answer>"},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text(jsonl(*rows).rstrip("\n"))  # the last line without an end
    code, out, err = r1("", str(file))
    assert [v["status"] for v in out[:6]] == ["ok", "ok", "wrong", "unparsable", "unparsable", "ok"]
    assert out[6]["status"] == "wrong" and out[7]["status"] in ("wrong", "unparsable")
    assert out[0] == {"id": "a", "status": "ok", "extracted": "2", "method": "maths/fast", "detail": ""} | {
        "verifier": out[1]["verifier"]
    }
    assert out[1]["id"] == 7 and "id" not in out[2] and len(out[0]["verifier"]) == 16
    assert code == 0 and "8 rows in" in err and "3 ok" in err


def test_bad_rows_give_a_typed_line_and_never_stop_the_batch():
    good = jsonl(GOOD).encode()
    text = b"".join(line + b"\n" + good for line, _ in BAD) + b"\n\n"
    code, out, err = r1(text)
    assert [v["status"] for v in out[1::2]] == ["ok"] * len(BAD)
    for number, (verdict, (_, why)) in enumerate(zip(out[::2], BAD, strict=True)):
        assert verdict["status"] == "infra" and verdict["method"] == "input", verdict
        assert why in verdict["detail"] and f"line {2 * number + 1}" in verdict["detail"]
    assert code == 1 and f"{len(BAD) - 1} bad lines, 2 blank ones" in err  # a missing gold is a row, not a bad line


def test_usage_errors_are_exit_status_2(tmp_path):
    for args in ([str(tmp_path / "none.jsonl")], [str(tmp_path)], ["--processes", "0"], ["--budget", "0"]):
        done = CliRunner().invoke(app, ["verify", *args])
        assert done.exit_code == 2 and not done.stdout and "Traceback" not in done.output


def test_help_documents_the_exit_status():
    help = CliRunner().invoke(app, ["verify", "--help"]).output
    assert "Exit status" in help and "infra" in help


def test_nothing_in_nothing_out():
    code, out, err = r1("")
    assert (code, out) == (0, []) and "0 rows" in err


def test_a_verdict_comes_before_the_next_row_is_written():
    """A co-process: one row in, its verdict out, though a worker has to decide it."""
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as r1:
        for completion, status in [
            ("<answer>4/2</answer>", "ok"),
            ("<answer>2</answer>", "ok"),
            ("\\boxed{6/2}", "wrong"),
        ]:
            r1.stdin.write(jsonl(GOOD | {"completion": completion}).encode())
            r1.stdin.flush()
            assert json.loads(r1.stdout.readline())["status"] == status
        r1.stdin.close()
        assert r1.wait(120) == 0


def test_memory_does_not_grow_with_the_input():
    """400 MB of rows, most of it one overlong line, in 150 MB over the start."""
    with subprocess.Popen(
        [*COMMAND, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as r1:

        def peak():
            status = Path(f"/proc/{r1.pid}/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0]) >> 10

        def answered():
            return json.loads(r1.stdout.readline())

        r1.stdin.write(jsonl(GOOD).encode())
        r1.stdin.flush()
        answered()
        before = peak()
        row = jsonl(GOOD | {"completion": "<think>" + "so " * 300_000 + "</think> \\boxed{2}"}).encode()
        for _ in range(100):
            r1.stdin.write(row)
            r1.stdin.flush()
            assert answered()["status"] == "ok"
        for _ in range(300):
            r1.stdin.write(b"x" * (1 << 20))
        r1.stdin.write(b"\n")
        r1.stdin.flush()
        assert "longer than 64 MiB" in answered()["detail"]
        assert peak() - before < 200
        r1.stdin.close()


def test_a_full_disk_is_said_and_not_a_traceback():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(COMMAND, input=jsonl(GOOD).encode(), stdout=full, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    assert done.returncode == 3 and b"No space left on device" in done.stderr and b"Traceback" not in done.stderr


@pytest.fixture()
def judge():
    with Server() as server:
        yield server


OPEN = {"domain": "judge", "prompt": "Capital of France?", "gold": "Paris", "completion": "<answer>Paris</answer>"}


def test_rows_of_domain_judge_are_put_to_the_endpoint(judge, tmp_path):
    rows = [
        OPEN,
        GOOD,
        OPEN | {"completion": "<think> Rome? </think> <answer>Rome</answer>"},
        OPEN | {"completion": "Paris"},
        OPEN | {"completion": None},
        OPEN | {"gold": None},
        OPEN | {"prompt": 5},
        OPEN,
    ]
    (tmp_path / "judge.yaml").write_text(f"url: {judge.url}\nmodel: m\n")
    options = ("--endpoint", str(tmp_path / "judge.yaml"), "--judge-cache", str(tmp_path / "cache"))
    code, out, err = here(jsonl(*rows), *options)
    assert [v["status"] for v in out] == ["ok", "ok", "wrong", "unparsable", "unparsable", "infra", "infra", "ok"]
    assert out[0]["method"] == "judge" and out[0]["detail"] == "compared" and out[1]["method"] == "maths/fast"
    assert "give `prompt` and `gold` as text" in out[5]["detail"] and code == 1 and "judge: 3 unparsable" not in err
    assert len(judge.asked) == 2, "the same question is asked once"
    assert all("Rome?" not in str(body) for body in judge.asked), "the thought is not the judge's to read"
    assert r1(jsonl(*rows), *options)[1] == out and len(judge.asked) == 2, "replies are kept"


def test_without_an_endpoint_a_judge_row_says_what_is_missing():
    code, out, _ = here(jsonl(OPEN, GOOD))
    assert (code, [v["status"] for v in out]) == (1, ["infra", "ok"]) and "--judge-url" in out[0]["detail"]


def test_agreement_puts_every_answer_also_to_the_judge(judge):
    rows = [GOOD, GOOD | {"completion": "<answer>3</answer>"}, GOOD | {"id": "half", "completion": "<answer>4/2</answer>"}]
    rows += [GOOD | {"completion": "two"}, OPEN]
    code, out, err = here(jsonl(*rows), "--judge-url", judge.url, "--judge-model", "m", "--agreement")
    assert [v["status"] for v in out] == ["ok", "wrong", "ok", "unparsable", "ok"] and code == 0
    assert "agreement of judge and rules, all: 66.67% (95 % interval" in err and "of 3 answers" in err
    assert "rejects of what they accept 50.00%" in err and "half (maths): the rules say ok, the judge wrong" in err


def test_a_judge_that_is_down_costs_only_its_rows_and_the_budget_holds(judge):
    judge.times = 99
    slow = OPEN | {"prompt": "[slow]"}
    start = time.monotonic()
    code, out, _ = here(jsonl(GOOD, slow, GOOD), "--judge-url", judge.url, "--judge-model", "m", "--budget", "0.5")
    assert [v["status"] for v in out] == ["ok", "infra", "ok"] and code == 1 and "budget" in out[1]["detail"]
    assert time.monotonic() - start < 60


def test_judge_options_are_checked(tmp_path):
    (tmp_path / "judge.yaml").write_text("url: http://localhost/v1\nmodle: m\n")
    for args, why in (
        (["--agreement"], "needs a judge"),
        (["--judge-url", "http://localhost/v1"], "model"),
        (["--endpoint", str(tmp_path / "judge.yaml")], "modle"),
        (["--endpoint", str(tmp_path / "none.yaml")], "missing"),
    ):
        done = CliRunner().invoke(app, ["verify", *args])
        assert done.exit_code == 2 and why in done.output and "Traceback" not in done.output, done.output


@pytest.mark.parametrize("end", ["interrupt", "reader"])
def test_an_end_from_outside_is_quick_and_leaves_nobody_behind(end):
    hang = jsonl(GOOD | {"gold": "\\sqrt{2}", "completion": "<answer>\\sum_{k=1}^{10^9} \\frac{k!}{k^{k}}</answer>"})
    with subprocess.Popen(
        [*COMMAND, "--budget", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    ) as r1:
        r1.stdin.write((jsonl(GOOD) + hang + jsonl(GOOD) * 50_000).encode()[:60_000])
        r1.stdin.flush()
        assert json.loads(r1.stdout.readline())["status"] == "ok"
        if end == "interrupt":
            r1.send_signal(signal.SIGINT)
            assert r1.wait(60) == 130
        else:
            r1.stdout.close()
            r1.stdin.close()
            assert r1.wait(120) == 141
        assert b"Traceback" not in r1.stderr.read()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and _members(r1.pid):
        time.sleep(0.05)
    assert not _members(r1.pid)


def _members(session: int) -> list[int]:
    """Processes of a session that still run."""
    out = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            out.append(int(stat.parent.name))
    return [pid for pid in out if pid != os.getpid()]
