"""CPU slots and GPUs of the machine: real processes take them, wait for them, and leave them however they end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from flows.orchestration import slots
from flows.orchestration.params import ParamsError
from tests.toy.project import REPO, until

TAKE = """
import os, sys, time
from flows.orchestration import slots
held = slots.take(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), lambda said: print(said, flush=True))
print("has", len(held), os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
time.sleep(60)
"""


class Taker:
    """A process that takes slots and keeps them until it is killed."""

    def __init__(self, log, env: dict, stage: str, gpu: int, threads: int):
        self.log = log
        command = [sys.executable, "-c", TAKE, stage, str(gpu), str(threads)]
        with open(log, "w") as out:
            self.process = subprocess.Popen(command, cwd=REPO, env=env, stdout=out, stderr=out)

    def said(self) -> str:
        return self.log.read_text()

    def has(self) -> bool:
        assert self.process.poll() is None, self.said()
        return "has" in self.said()

    def end(self, how: int = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.wait(10)


@pytest.fixture
def taker(tmp_path):
    started = []

    def _take(stage: str, gpu: int = 0, threads: int = 1, **env: str) -> Taker:
        full = {k: v for k, v in os.environ.items() if not k.startswith(("R1_", "CUDA"))}
        full |= {slots.FOLDER: str(tmp_path / "slots"), slots.COUNT: "2"} | env
        started.append(Taker(tmp_path / f"{stage}.log", full, stage, gpu, threads))
        return started[-1]

    yield _take
    for one in started:
        if one.process.poll() is None:
            one.end()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_who_comes_third_waits_is_told_for_whom_and_goes_on(taker, how):
    first, second = taker("base"), taker("judge")
    until(lambda: first.has() and second.has(), what="two of two slots")
    third = taker("dev1")
    until(lambda: "waits for 1 of 2 cpu slots of this machine" in third.said(), what="the third to wait")
    assert f"process {first.process.pid} of " in third.said() and "stage judge" in third.said()
    time.sleep(3 * slots.TICK)
    assert not third.has()
    first.end(how)
    until(third.has, what="the slot that was left")
    assert second.process.poll() is None


def test_a_wide_stage_waits_for_all_it_needs_and_is_not_overtaken(taker):
    first = taker("base")
    until(first.has, what="one of two slots")
    wide = taker("r1_zero", threads=2)
    until(lambda: "waits for 2 of 2" in wide.said(), what="the wide one to wait")
    late = taker("judge")
    until(lambda: "waits for 1 of 2" in late.said(), what="the late one to wait")
    first.end()
    until(wide.has, what="both slots")
    assert not late.has()
    wide.end()
    until(late.has, what="one of two slots")


def test_more_threads_than_cores_take_all_of_them_and_no_limit_is_none(taker):
    wide = taker("base", threads=64)
    until(wide.has, what="all slots")
    assert "has 2" in wide.said()
    free = taker("judge", **{slots.COUNT: "0"})
    until(free.has, what="no limit")
    assert "has 0" in free.said()


def test_each_stage_sees_only_the_accelerators_it_took(tmp_path, monkeypatch):
    monkeypatch.setenv(slots.FOLDER, str(tmp_path))
    monkeypatch.setenv(slots.COUNT, "0")
    monkeypatch.setattr(slots, "gpus", lambda: ["0", "GPU-4f/1"])  # the machine of the tests has none
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-4f/1")
    first = slots.take("base", 1, 1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    second = slots.take("judge", 1, 1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-4f/1"
    first.close()
    second.close()
    slots.take("r1", 8, 1).close()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,GPU-4f/1", "as many as there are"


def test_an_accelerator_is_one_lock_by_whatever_name(tmp_path, monkeypatch):
    """/dev and /proc/driver/nvidia as the driver lays them out, in a container that sees the second and the fourth."""
    for name in ("nvidiactl", "nvidia1", "nvidia3", "nvidia-uvm"):
        (tmp_path / name).write_text("")
    for minor, place in (("3", "0000:04:00.0"), ("1", "0000:02:00.0")):
        (tmp_path / place).mkdir()
        text = f"Model: \t\t NVIDIA X\nVideo BIOS: \t\nGPU UUID: \t GPU-{minor}f-aa\nDevice Minor: \t {minor}\n"
        (tmp_path / place / "information").write_text(text)
    monkeypatch.setattr(slots, "DEVICES", tmp_path)
    monkeypatch.setattr(slots, "DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert slots.gpus() == ["0", "1"], "CUDA counts what it sees"
    lock = slots._file(tmp_path, "gpu", "1")
    assert lock.name == "gpu-3.lock" and lock == slots._file(tmp_path, "gpu", "GPU-3f")
    assert slots._file(tmp_path, "gpu", "GPU-1f-aa").name == "gpu-1.lock"
    assert slots._file(tmp_path, "cpu", "1").name == "cpu-1.lock"
    for given, seen in (("-1", []), ("", []), ("1,-1,0", ["1"]), ("GPU-3f,0", ["GPU-3f", "0"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert slots.gpus() == seen


def test_slots_are_the_cores_this_process_may_use(monkeypatch):
    monkeypatch.delenv(slots.COUNT, raising=False)
    assert slots.cpus() == [str(core) for core in sorted(os.sched_getaffinity(0))]
    monkeypatch.setenv(slots.COUNT, "many")
    with pytest.raises(ParamsError, match="R1_CPU_SLOTS is 'many'"):
        slots.cpus()


def test_a_folder_that_cannot_hold_locks_and_a_planted_link_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(slots.COUNT, "1")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(slots.FOLDER, str(tmp_path / "file"))
    with pytest.raises(ParamsError, match="set R1_SLOTS_DIR to a folder"):
        slots.take("base", 0, 1)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "slots").mkdir()
    (tmp_path / "slots/cpu-0.lock").symlink_to(victim)
    monkeypatch.setenv(slots.FOLDER, str(tmp_path / "slots"))
    with pytest.raises(ParamsError, match="no locks in"):
        slots.take("base", 0, 1)
    assert victim.read_text() == "precious"
