"""Kills, second writers, full disks and flipped bits: nothing half-written, no orphan, work goes on."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toy.project import until


def _steps(toy) -> int:
    found = list((toy.root / "work/grow@oak").glob("*/state.json"))
    return len(json.loads(found[0].read_text())) if found else 0


def _slow(toy, seconds: float = 0.3, steps: int = 12) -> None:
    toy.set("grow.plants.oak", {"steps": steps, "seconds": seconds})


@pytest.fixture(scope="module")
def uninterrupted(toy_template, tmp_path_factory):
    """md5s of what a slow `grow@oak` makes where nobody kills it; and the project before that."""
    toy = toy_template.copy(tmp_path_factory.mktemp("uninterrupted") / "toy")
    _slow(toy)
    toy.dvc("repro", "numbers")
    before = toy.copy(toy.root.parent / "before")
    toy.dvc("repro", "grow@oak")
    return toy.md5s(), before


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh"])  # one gives way to the command it runs, the other stays
def test_kill_of_dvc_leaves_no_orphan_and_the_next_run_resumes(uninterrupted, tmp_path, shell):
    reference, toy = uninterrupted[0], uninterrupted[1].copy(tmp_path / "toy")
    dvc = toy.start("dvc", "repro", "grow@oak", SHELL=shell)
    until(lambda: _steps(toy) >= 3, what="three steps")
    dvc.send_signal(signal.SIGKILL)
    dvc.wait()
    until(lambda: not toy.processes(), 12, "the stage to die with dvc")
    done = _steps(toy)
    assert 3 <= done < 12 and not toy.has("data/03_grow/oak")
    said = toy.dvc("repro", "grow@oak")
    assert "resuming from work/grow@oak/" in said and f"from step {done}," in said
    assert json.loads(toy.read("work/runs/grow@oak.json"))["resumed"]
    assert toy.md5s() == reference, "a resumed run makes the bytes of an uninterrupted one"


def test_second_writer_is_refused(sown):
    toy = sown
    _slow(toy)
    first = toy.start(*toy.stage_command("grow", "oak"))
    until(lambda: _steps(toy) >= 1, what="the first step")
    first.send_signal(signal.SIGSTOP)  # it is at it for as long as the others take to come up
    said = toy.stage("grow", "oak", ok=False)
    assert f"grow@oak is busy, it is being blocked by process {first.pid}" in said
    toy.stage("grow", "fir")  # another item is another artifact
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=60)
    assert first.returncode == 0 and toy.has("data/03_grow/oak/plant.json")


def test_crash_in_the_body_leaves_the_published_artifact(sown):
    toy = sown
    toy.stage("grow", "oak")
    before = toy.read("data/03_grow/oak/plant.json"), toy.read("metrics/grow/oak.json")
    toy.set("grow.plants.oak.fail_at", 2)
    said = toy.stage("grow", "oak", ok=False)
    assert "[grow@oak] failed: ValueError: the frost came" in said and "Traceback" in said
    assert (toy.read("data/03_grow/oak/plant.json"), toy.read("metrics/grow/oak.json")) == before
    assert sorted(p.name for p in (toy.root / "data/03_grow").iterdir()) == ["oak"]
    toy.set("grow.plants.oak.fail_at", None)
    toy.stage("grow", "oak")
    assert toy.read("data/03_grow/oak/plant.json") == before[0]
    assert not toy.has("work/grow@oak"), "work of the failed settings goes once a run has published"


def _with_small_files(toy) -> str:
    """The stage with RLIMIT_FSIZE, under which a write fails as on a full disk."""
    limit = 64 * 1024
    command = toy.stage_command("grow", "oak")
    done = subprocess.run(
        command,
        cwd=toy.root,
        env=toy.env(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_no_room_for_a_file_leaves_nothing_half_written(sown):
    toy = sown
    toy.set("grow.plants.oak.blob", 1_000_000)
    said = _with_small_files(toy)
    assert (
        f"{toy.root}/work/grow@oak: the disk is full after " in said
        and "bytes are free" in said
        and "Traceback" not in said
    )
    assert not toy.has("data/03_grow") and not toy.has("metrics/grow")
    assert _steps(toy) == 3, "the work so far is kept"
    assert "from step 3," in toy.stage("grow", "oak")
    assert (toy.root / "data/03_grow/oak/blob.bin").stat().st_size == 1_000_000


@pytest.fixture
def tiny_disk(sown):
    """work/ on a file system of 400 kB."""
    toy, work = sown, sown.root / "work"
    shutil.rmtree(work)
    work.mkdir()
    mounted = (
        os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", work]).returncode == 0
    )
    if not mounted:
        pytest.skip("mounting a tmpfs needs root; RLIMIT_FSIZE above covers the same path")
    yield toy
    subprocess.run(["umount", work], check=True)


def test_full_disk_and_then_room_again(tiny_disk):
    toy = tiny_disk
    toy.set("grow.plants.oak.blob", 1_000_000)
    said = toy.stage("grow", "oak", ok=False)
    assert f"{toy.root}/work/grow@oak: the disk is full after " in said and "No space left" in said
    assert not toy.has("data/03_grow") and not toy.has("metrics/grow")
    subprocess.run(["mount", "-o", "remount,size=8m", toy.root / "work"], check=True)
    assert "resuming" in toy.stage("grow", "oak")
    assert (toy.root / "data/03_grow/oak/blob.bin").stat().st_size == 1_000_000


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_work_on_another_file_system_publishes_as_well(toy):
    elsewhere = Path("/dev/shm") / f"r1-test-{os.getpid()}"
    elsewhere.mkdir()
    try:
        (toy.root / "work").symlink_to(elsewhere)
        toy.stage("numbers")
        toy.stage("numbers")  # over the first one
        toy.stage("grow", "oak")
        assert sorted(p.name for p in (toy.root / "data").iterdir()) == ["01_numbers", "02_held_out", "03_grow"]
    finally:
        shutil.rmtree(elsewhere)


def test_a_flipped_bit_in_an_input_is_found(sown):
    toy = sown
    table = toy.root / "data/01_numbers/numbers.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    said = toy.stage("grow", "oak", ok=False)
    assert "data/01_numbers/numbers.parquet is damaged" in said and "Traceback" not in said
    assert not toy.has("data/03_grow")


def test_read_only_hard_links_of_an_earlier_run_are_replaced(toy):
    toy.dvc("repro", "numbers")
    toy.set("numbers.count", 30)
    toy.stage("numbers")
    assert json.loads(toy.read("metrics/numbers.json"))["rows"] == 30


def test_python_outside_the_environment_hands_over(toy):
    base = Path(sys.base_prefix) / "bin" / "python3"
    if sys.prefix == sys.base_prefix or not base.exists():
        pytest.skip("not in a virtual environment")
    (toy.root / ".venv").symlink_to(sys.prefix)
    said = toy.call(str(base), "-m", "flows.numbers")
    assert "done in" in said and toy.has("data/01_numbers")
