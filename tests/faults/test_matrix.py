"""A slice of the fault matrix on the toy recipe; `make faults` runs all of it on the real one."""

import pytest

from tests.faults.all_of_it import all_of_it
from tests.faults.matrix import Matrix
from tests.faults.table import summary, table


@pytest.fixture(scope="module")
def built(whole_template, tmp_path_factory):
    """The toy recipe after an uninterrupted run, its dvc.lock committed."""
    toy = whole_template.copy(tmp_path_factory.mktemp("matrix") / "toy")
    toy.git("add", "-A")
    toy.git("commit", "-qm", "built")
    return Matrix(toy.root)


def test_killed_anywhere_it_ends_in_the_same_bytes(built):
    """The stage with two outs."""
    cells = built.chain("numbers", "few")
    assert len(cells) == 5
    assert not [(c.moment, c.target, c.wrong) for c in cells if c.wrong]


@all_of_it
@pytest.mark.parametrize(
    "stage", ["numbers", "grow@oak", "harvest"]
)  # two folders; an item with a plot; a file, a folder
def test_killed_everywhere_it_ends_in_the_same_bytes(built, stage):
    cells = built.chain(stage, "kills") + built.chain(stage, "commits")
    assert len(cells) == 16
    assert not [(c.moment, c.target, c.wrong) for c in cells if c.wrong]


def test_the_table_says_what_was_tried_and_what_went_wrong():
    cell = {"stage": "numbers", "moment": "body", "target": "dvc", "seconds": 0.5, "left": {"whole": 2}, "wrong": []}
    bad = cell | {"target": "flow", "wrong": ["still alive"], "left": {"half": 1}}
    again = cell | {"moment": "again", "target": "kills"}
    text = table([cell, bad, again])
    assert (
        "| `numbers` | not tried | dvc ✓; **flow at body: still alive** | not tried | not tried | same md5s |" in text
    )
    assert "2 kills of 1 stages; 1 cell not as promised" in summary([cell, bad, again])
