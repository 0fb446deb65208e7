"""dvc.lock written a stage at a time has the bytes that DVC writes."""

import copy
from pathlib import Path

import pytest
from dvc import dvcfile
from dvc.utils.serialize import dumps_yaml, loads_yaml, modify_yaml

from flows.orchestration import lockfile

REAL = Path(__file__).resolve().parents[2] / "dvc.lock"
ENTRY = {
    "cmd": "python -m flows.x 'a b'",
    "deps": [{"path": "data/01: x", "hash": "md5", "md5": "0" * 32, "size": 3}],
    "params": {
        "params.yaml": {"x.a": 1e-05, "x.b": "yes", "x.c": [{"d": None, "e": True}, []], "x.f": "two\n\nlines " * 20}
    },
}


def _change(entry: dict, name: str):
    def change(data: dict) -> None:  # as dvcfile.Lockfile.dump_stages does
        data["stages"].update({name: copy.deepcopy(entry)})

    return change


CHANGES = {
    "another entry": _change(ENTRY, "judge"),
    "the last entry": _change(ENTRY, "cold_start"),
    "a new stage": _change(ENTRY, "new@item"),
    "the same entry": lambda data: data["stages"].update(judge=copy.deepcopy(data["stages"]["judge"])),
    "a stage less": lambda data: data["stages"].pop("judge"),
    "something else": lambda data: data.setdefault("datasets", []).append({"name": "x", "type": "dvc"}),
}


@pytest.fixture(scope="module")
def head() -> str:
    """The first stages of the repository's own dvc.lock: all of it takes DVC three seconds."""
    whole = loads_yaml(REAL.read_text())["stages"]
    few = {name: whole[name] for name in ("base", "judge", "preferences", "cold_start")}
    return dumps_yaml({"schema": "2.0", "stages": few})


@pytest.mark.parametrize("what", CHANGES)
def test_same_bytes_as_dvcs_own_writer(head, tmp_path, monkeypatch, what):
    ours, theirs = tmp_path / "ours/dvc.lock", tmp_path / "theirs/dvc.lock"
    for path in (ours, theirs):
        path.parent.mkdir()
        path.write_text(head)
    with modify_yaml(theirs) as data:
        CHANGES[what](data)
    monkeypatch.setattr(dvcfile, "modify_yaml", modify_yaml)
    lockfile.install()
    with dvcfile.modify_yaml(str(ours)) as data:
        CHANGES[what](data)
    assert ours.read_bytes() == theirs.read_bytes()
    assert (ours.read_text() == head) == (what == "the same entry")
    assert [p.name for p in ours.parent.iterdir()] == ["dvc.lock"]


def test_other_files_and_a_first_lock_are_dvcs(tmp_path, monkeypatch):
    monkeypatch.setattr(dvcfile, "modify_yaml", modify_yaml)
    lockfile.install()
    for name in ("dvc.lock", "other.yaml"):
        with dvcfile.modify_yaml(tmp_path / name) as data:
            assert not data
            data.update({"schema": "2.0", "stages": {"x": ENTRY}})
        assert loads_yaml((tmp_path / name).read_text())["stages"]["x"] == ENTRY
