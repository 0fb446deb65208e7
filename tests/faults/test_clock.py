"""Clocks that jump and time zones change no output.

The clock of a stage is moved under it: its Python starts with a `time.time` that jumps by years, back and forth.
"""

import os

import pytest

from tests.faults.all_of_it import all_of_it
from tests.faults.matrix import digest
from tests.toy.project import Toy

CLOCK = """
import os, time
_shift = float(os.environ["CLOCK_SHIFT"])
_time, _ns, _calls = time.time, time.time_ns, 0
def moved():
    global _calls
    _calls += 1
    return _time() + _shift * (_calls % 3)  # back and forth, by years
time.time = moved
time.time_ns = lambda: int(moved() * 1e9)
"""


PATHS = ("data/01_numbers", "data/02_held_out", "data/03_grow/oak", "metrics/numbers.json", "metrics/grow/oak.json")


def _made(toy: Toy, **env: str) -> dict:
    toy.stage("numbers", **env)
    toy.stage("grow", "oak", **env)
    return {path: digest(toy.root / path) for path in PATHS}


@pytest.fixture(scope="module")
def reference(toy_template, tmp_path_factory) -> dict:
    return _made(toy_template.copy(tmp_path_factory.mktemp("clock") / "toy"))


@pytest.mark.parametrize(
    ("zone", "shift"),
    [("Pacific/Kiritimati", "-900000000"), pytest.param("America/St_Johns", "900000000", marks=all_of_it)],
)
def test_time_zones_and_jumps_of_the_clock_change_no_output(toy, reference, tmp_path, zone, shift):
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(CLOCK)
    path = f"{tmp_path / 'clock'}{os.pathsep}{toy.root}"
    assert _made(toy, TZ=zone, LC_ALL="C.UTF-8", CLOCK_SHIFT=shift, PYTHONPATH=path) == reference
    assert all(reference.values())


@all_of_it
def test_inputs_from_the_future_are_inputs(toy):
    """A file whose time lies ahead is neither stale for ever nor fresh for ever."""
    toy.r1("run", "numbers")
    ahead = 4_000_000_000
    os.utime(toy.root / "flows/numbers.py", (ahead, ahead))
    assert "up to date" in toy.r1("run", "numbers")
    (toy.root / "flows/numbers.py").write_text(toy.read("flows/numbers.py") + "# another\n")
    os.utime(toy.root / "flows/numbers.py", (ahead, ahead))
    assert "up to date" not in toy.r1("run", "numbers")
