"""What a killed dvc leaves half-written: its table of locks and dvc.lock."""

import json
import os

import pytest
import yaml

from flows.orchestration.mend import _whole
from tests.faults.all_of_it import all_of_it
from tests.toy.project import Toy


@pytest.fixture(scope="module")
def built(oak_template, tmp_path_factory) -> Toy:
    """`numbers` is committed; `grow@oak` is recorded, but not committed."""
    toy = oak_template.copy(tmp_path_factory.mktemp("mend") / "toy")
    lock = toy.read("dvc.lock")
    stages = {"numbers": yaml.safe_load(lock)["stages"]["numbers"]}
    (toy.root / "dvc.lock").write_text(yaml.safe_dump(yaml.safe_load(lock) | {"stages": stages}, sort_keys=False))
    toy.git("add", "-A", ":!metrics/grow", ":!plots")
    toy.git("commit", "-qm", "numbers")
    (toy.root / "dvc.lock").write_text(lock)
    return toy


@pytest.fixture
def done(built, tmp_path) -> Toy:
    return built.copy(tmp_path / "toy")


@pytest.mark.parametrize("share", [0.0, pytest.param(0.3, marks=all_of_it), pytest.param(0.9, marks=all_of_it)])
def test_half_a_lock_is_replaced_and_nothing_runs_again(done, share):
    text, book = done.read("dvc.lock"), done.read("work/runs/grow@oak.json")
    (done.root / "dvc.lock").write_text(text[: int(share * len(text))].rstrip("\n"))
    said = done.r1("run", "grow@oak")
    assert "had left half a dvc.lock (now work/dvc.lock.half): the committed one is back" in said
    assert yaml.safe_load(done.read("dvc.lock")) == yaml.safe_load(text)
    assert done.has("work/dvc.lock.half")
    assert done.read("work/runs/grow@oak.json") == book, "it is recorded again, not run again"


def test_every_half_of_a_lock_is_told_from_a_whole_one(done):
    lock, text = done.root / "dvc.lock", done.read("dvc.lock")
    assert _whole(lock)
    lock.write_text(text + "# by hand\n")
    assert _whole(lock)
    cuts = range(0, len(text) - 1, 7)
    missed = []
    for cut in cuts:
        lock.write_text(text[:cut])
        missed += [cut] if _whole(lock) else []
    assert len(cuts) > 100 and all(text[:cut].endswith("\n") for cut in missed), (
        "shorter by whole entries: DVC reads it"
    )
    lock.unlink()
    assert _whole(lock), "none is none that is damaged"


def test_a_process_id_that_is_another_programs_by_now_holds_nothing(done):
    """The test's own process stands for the other program: alive, and no dvc."""
    entry = {"pid": os.getpid(), "cmd": "/venv/bin/dvc repro grow@oak"}
    table = {
        "write": {str(done.root / "data/03_grow/oak"): entry},
        "read": {str(done.root / "data/01_numbers"): [entry]},
    }
    (done.root / ".dvc/tmp").mkdir(exist_ok=True)
    (done.root / ".dvc/tmp/rwlock").write_text(json.dumps(table))
    done.set("grow.plants.oak.steps", 2)
    assert "is busy, it is being blocked by" in done.dvc("repro", "--single-item", "grow@oak", ok=False)
    done.r1("run", "grow@oak")
    assert len(json.loads(done.read("data/03_grow/oak/plant.json"))) == 2
