"""Curation under kills, full disks, two writers at once and workers that die."""

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.curation.errors import CurationError
from tasks.curation.place import Place
from tasks.execution import ExecutionError, Local
from tests.curation.made_candidates import POLICY, candidate, candidates, curated, prose, response, write

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
from pathlib import Path
from tests.curation.made_candidates import POLICY, curated
folder, workers = Path(sys.argv[1]), int(sys.argv[2])
if __name__ == "__main__":
    say = lambda *a: print(*a, flush=True)
    curated([folder / "in"], POLICY, folder / "out", workers=workers, keep_work=True, progress=say)
"""


def start(folder: Path, workers: int = 1, **kwargs) -> subprocess.Popen:
    (folder / "run.py").write_text(RUN)
    command = [sys.executable, str(folder / "run.py"), str(folder), str(workers)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs
    )


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def given(folder: Path, files: int = 6, count: int = 240) -> Path:
    for n in range(files):
        write(folder / "in" / f"{n}.parquet", candidates(count)[n::files])
    return folder


@pytest.mark.parametrize(
    ("moment", "workers"), [("reading texts 80", 1), ("reading texts 80", 2), ("writing decisions", 1)]
)
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(tmp_path, moment, workers):
    whole = given(tmp_path / "whole")
    curated([whole / "in"], POLICY, whole / "out")
    killed = given(tmp_path / "killed")
    process = start(killed, workers)
    for line in process.stdout:
        if line.startswith(moment):
            break
    process.kill()
    process.wait()
    process.stdout.close()
    assert not (killed / "out").exists(), "half a result is never seen"
    finished = {p: p.stat().st_mtime_ns for p in (killed / ".out.curate" / "shards").glob("*.parquet")}
    assert len(finished) >= 2
    curated([killed / "in"], POLICY, killed / "out", keep_work=True)
    assert {p: p.stat().st_mtime_ns for p in finished} == finished, "finished shards are not measured again"
    assert digests(killed / "out") == digests(whole / "out")


def test_of_two_runs_into_one_folder_the_second_is_told_who_has_it(tmp_path):
    given(tmp_path)
    with Place(tmp_path / "out", None):
        process = start(tmp_path)
        said, _ = process.communicate()
        assert process.returncode != 0
        assert f"out is being written by process {os.getpid()} (" in said
        assert not (tmp_path / "out").exists()
        with pytest.raises(CurationError, match="work is being written by"), Place(tmp_path / "a", tmp_path / "work"):
            curated([tmp_path / "in"], POLICY, tmp_path / "b", work=tmp_path / "work")
    curated([tmp_path / "in"], POLICY, tmp_path / "out")


def test_a_file_too_large_for_the_disk_leaves_the_old_result(tmp_path):
    """RLIMIT_FSIZE, under which a write fails as on a full disk, for any user."""
    given(tmp_path)
    curated([tmp_path / "in"], POLICY, tmp_path / "out")
    before = digests(tmp_path / "out")
    limit = 32 * 1024
    process = start(tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    said, _ = process.communicate()
    assert process.returncode != 0 and "the disk is full after" in said and str(tmp_path) in said
    assert digests(tmp_path / "out") == before


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 6 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk]
    if os.geteuid() != 0 or subprocess.run(mount).returncode != 0:
        pytest.skip("mounting a tmpfs needs root; RLIMIT_FSIZE above covers the same path")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("where", ["everything", "the result alone"])
def test_a_full_disk_names_path_and_bytes_and_then_there_is_room(tmp_path, tiny_disk, where):
    out, work = tiny_disk / "out", tmp_path / "work" if where == "the result alone" else None
    small = write(tmp_path / "small.parquet", candidates(24))
    curated([small], POLICY, out, work=work)
    before = digests(out)
    rows = [
        candidate(i, response(os.urandom(6000).hex() + " " + prose(i)), prompt_id=f"q{i}", verdict="ok")
        for i in range(1500)
    ]
    filters = POLICY.filters.model_copy(update={"max_paragraph_chars": None})
    policy = POLICY.model_copy(update={"filters": filters})
    large = write(tmp_path / "large.parquet", rows)
    with pytest.raises(
        CurationError, match=rf"{tiny_disk}.*: the disk is full after [\d,]+ bytes of it \([\d,]+ bytes are free"
    ):
        curated([large], policy, out, work=work)
    assert digests(out) == before
    subprocess.run(["mount", "-o", "remount,size=200m", tiny_disk], check=True)
    assert curated([large], policy, out, work=work).kept > 0
    assert digests(out) != before and [p.name for p in tiny_disk.iterdir()] == ["out"]


def test_a_kill_between_the_two_renames_is_mended(tmp_path):
    path = write(tmp_path / "a.parquet", candidates(24))
    curated([path], POLICY, tmp_path / "out")
    before = digests(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    (tmp_path / ".out.new").mkdir()
    with Place(tmp_path / "out", None):
        assert digests(tmp_path / "out") == before
    assert not (tmp_path / ".out.new").exists()


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    path = write(tmp_path / "a.parquet", candidates(24))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(CurationError, match="thesis holds something else"):
        curated([path], POLICY, tmp_path / "thesis")
    with pytest.raises(CurationError, match="is a file"):
        curated([path], POLICY, path)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_work_on_another_file_system(tmp_path):
    work = Path("/dev/shm") / f"r1-curate-{os.getpid()}"
    try:
        path = write(tmp_path / "a.parquet", candidates(24))
        curated([path], POLICY, tmp_path / "here")
        for _ in range(2):  # the second over the first
            curated([path], POLICY, tmp_path / "out", work=work)
        assert digests(tmp_path / "out") == digests(tmp_path / "here") and not work.exists()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _double(x: int) -> int:
    return 2 * x


def _die(x: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(x: int) -> None:
    raise CurationError(f"row {x} is bad")


def test_workers_keep_the_order_and_hand_on_errors():
    with Local(2) as execution:
        run = execution.map
        assert list(run(_double, range(20))) == list(range(0, 40, 2))
        with pytest.raises(CurationError, match="row [0-2] is bad"):
            list(run(_fail, range(3)))
        with pytest.raises(ExecutionError, match="a worker process was killed.*fewer --threads"):
            list(run(_die, range(3)))


def test_workers_end_with_the_process_that_started_them(tmp_path):
    given(tmp_path, files=30)
    process = start(tmp_path, workers=2)
    for line in process.stdout:
        if line.startswith("checking files"):
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(_alive(child) for child in children):
        time.sleep(0.05)
    assert not [child for child in children if _alive(child)]
    process.stdout.close()


def _alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
