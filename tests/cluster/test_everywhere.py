"""recipes/cluster/everywhere.sh as two machines use it that share a folder and nothing else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "cluster" / "everywhere.sh"
SAY = "import os, sys; open(sys.argv[1] + os.environ['RANK'], 'a').write(sys.argv[2] + '\\n')"
FAIL = "import os, sys; sys.exit(3 if os.environ['RANK'] == '1' else 0)"


def machine(folder: Path, rank: int, *words: str) -> subprocess.Popen:
    env = os.environ | {"R1_MEETING": str(folder / "meeting"), "RANK": str(rank)}
    return subprocess.Popen(
        ["bash", str(SCRIPT), *words], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def launch(folder: Path, code: str, *words: str) -> int:
    return machine(folder, 0, sys.executable, "-c", code, *words).wait(30)


def test_every_launcher_runs_on_every_machine_in_order_and_then_all_end(tmp_path):
    joined = machine(tmp_path, 1, "--join")
    odd = 'a "quoted" $HOME\nsecond line'
    assert launch(tmp_path, SAY, f"{tmp_path}/said-", odd) == 0
    assert launch(tmp_path, SAY, f"{tmp_path}/said-", "again") == 0
    late = machine(tmp_path, 2, "--join")  # came when both had begun
    assert machine(tmp_path, 0, "--done").wait(30) == 0
    assert (joined.wait(30), late.wait(30)) == (0, 0)
    assert {(tmp_path / f"said-{rank}").read_text() for rank in range(3)} == {f"{odd}\nagain\n"}


def test_a_launcher_that_fails_on_one_machine_ends_that_machine_with_its_status(tmp_path):
    joined = machine(tmp_path, 1, "--join")
    assert launch(tmp_path, FAIL) == 0 and joined.wait(30) == 3


def test_the_launcher_is_the_process_itself_so_that_signals_reach_it(tmp_path):
    running = machine(tmp_path, 0, sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)")
    assert running.stdout.readline() == "up\n"
    began = time.monotonic()
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == -signal.SIGTERM and time.monotonic() - began < 20


def test_without_a_meeting_place_it_says_what_is_missing():
    env = {k: v for k, v in os.environ.items() if k != "R1_MEETING"}
    done = subprocess.run(["bash", SCRIPT, "--join"], env=env, check=False, capture_output=True, text=True)
    assert done.returncode != 0 and "R1_MEETING: is not set: name a fresh folder" in done.stderr
