"""The gap between the renames of several outs, and what a reader sees while a stage publishes."""

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from flows.orchestration import publish
from flows.orchestration.dag import load_dag
from tasks.provenance.artifacts import ArtifactError, checked, read_rows
from tests.faults.matrix import FREEZE
from tests.toy.project import until


def _killed(toy, moment: str) -> None:
    """`python -m flows.numbers`, killed at this moment of its publication."""
    frozen = toy.root.parent / f"frozen-{moment}"
    path = f"{FREEZE}{os.pathsep}{toy.root}"
    spec = {"R1_FREEZE": f"stage:numbers:{moment}", "R1_FROZEN": str(frozen), "PYTHONPATH": path}
    process = toy.start(*toy.stage_command("numbers"), **spec)
    until(lambda: frozen.exists() and frozen.read_text(), 120, f"the moment {moment}")
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_kill_between_two_outs_is_seen_by_readers_and_ended_by_the_next_run(toy):
    toy.stage("numbers")
    old = toy.root / "data/02_held_out"
    before = read_rows(old, "numbers")
    toy.set("numbers.largest", 1000)
    _killed(toy, "between")
    assert len(read_rows(toy.root / "data/01_numbers", "numbers")) == 18, "the first out is whole, and new"
    assert read_rows(old, "numbers") == before, "the second is whole, and old"
    said = toy.stage("grow", "oak", ok=False)
    assert "numbers was stopped while it published, so its outs may not belong together; finish it with" in said
    assert "finished by an earlier run, which was stopped while it published" in toy.stage("numbers")
    assert read_rows(old, "numbers") != before and not toy.has("work/numbers")
    manifests = [json.loads(toy.read(f"data/{name}/manifest.json")) for name in ("01_numbers", "02_held_out")]
    assert [m["params"]["numbers"]["largest"] for m in manifests] == [1000, 1000]
    toy.stage("grow", "oak")


def test_what_was_sealed_and_then_damaged_is_made_again(toy):
    _killed(toy, "link")
    sealed = next((toy.root / "work/numbers").glob("*/out/data/01_numbers/numbers.parquet"))
    content = bytearray(sealed.read_bytes())
    content[len(content) // 2] ^= 1
    sealed.write_bytes(content)
    assert "finished by an earlier run" not in toy.stage("numbers")
    assert len(read_rows(toy.root / "data/01_numbers", "numbers")) == 18


@pytest.fixture
def space(toy):
    """A workspace of `numbers` with both outs written, and a function that makes the next one."""
    node = load_dag(toy.root)["numbers"]

    def fill(content: str) -> publish.Workspace:
        space = publish.Workspace(toy.root, node, "key")
        for folder in space.outs.values():
            (folder / "numbers.txt").write_text(content)
        return space

    return fill


def test_a_reader_never_finds_a_name_without_a_whole_artifact(space, toy):
    """Sixty publications over one another, and a reader that looks all the time."""
    end, seen = threading.Event(), []
    folder, metrics = toy.root / "data/01_numbers", toy.root / "metrics/numbers.json"

    def look() -> None:
        while not end.is_set():
            here = os.open(folder, os.O_RDONLY)  # one artifact, whatever takes its name meanwhile
            try:
                same = Path(f"/proc/self/fd/{here}")
                seen.append((checked(same, "numbers.txt").read_text(), metrics.read_text()))
            except FileNotFoundError:  # exchanged, and then deleted under us: another look finds the new one
                continue
            except ArtifactError as exc:
                if os.path.exists(same / "numbers.txt"):
                    seen.append(exc)
            finally:
                os.close(here)

    first = space("0")
    first.seal({"metrics/numbers.json": "{}"}, stage="numbers")
    first.publish()
    reader = threading.Thread(target=look)
    reader.start()
    for i in range(60):
        made = space(str(i))
        made.seal({"metrics/numbers.json": "{}"}, stage="numbers")
        made.publish()
    end.set()
    reader.join()
    assert len(seen) > 10 and not [s for s in seen if isinstance(s, Exception)]


def test_a_link_in_an_artifact_is_refused(space, tmp_path):
    (tmp_path / "secret").write_text("elsewhere")
    made = space("0")
    (made.outs["held_out"] / "extra.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(publish.PublishError, match="data/02_held_out/extra.txt is a symbolic link to .*/secret"):
        made.seal({})
    folder = made.outs["numbers"]
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path)
    with pytest.raises(publish.PublishError, match="data/01_numbers is a symbolic link"):
        made.seal({})


def test_without_an_exchange_in_the_kernel_two_renames_do(space, toy, monkeypatch):
    """A file system that knows no RENAME_EXCHANGE: the C library is asked for a function that it does not have."""
    monkeypatch.setattr(publish.ctypes, "CDLL", lambda *args, **kwargs: object())
    for content in ("0", "1"):
        made = space(content)
        made.seal({"metrics/numbers.json": content}, stage="numbers")
        made.publish()
    assert checked(toy.root / "data/01_numbers", "numbers.txt").read_text() == "1"
    assert toy.read("metrics/numbers.json") == "1" and not toy.has("work/numbers")
