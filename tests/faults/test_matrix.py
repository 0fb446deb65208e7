"""A slice of the fault matrix on the toy recipe; `make faults` runs all of it on the real one."""

import pytest

from tests.faults.matrix import Matrix


@pytest.fixture(scope="module")
def built(toy_template, tmp_path_factory):
    """The toy recipe after an uninterrupted run, its dvc.lock committed."""
    toy = toy_template.copy(tmp_path_factory.mktemp("matrix") / "toy")
    toy.r1("run")
    toy.git("add", "-A")
    toy.git("commit", "-qm", "built")
    return Matrix(toy.root)


@pytest.mark.parametrize(
    "stage", ["numbers", "grow@oak", "harvest"]
)  # two folders; an item with a plot; a file, a folder
def test_killed_anywhere_it_ends_in_the_same_bytes(built, stage):
    cells = built.chain(stage, "kills") + built.chain(stage, "commits")
    assert len(cells) == 16
    assert not [(c.moment, c.target, c.wrong) for c in cells if c.wrong]
