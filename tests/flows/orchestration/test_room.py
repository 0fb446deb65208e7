"""`r1 run` refuses what the disk will not hold, before anything runs, and says by how much."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flows.orchestration import pipeline
from flows.orchestration.forecast import disk, room
from flows.orchestration.forecast.disk import Disk, DiskError
from flows.orchestration.forecast.plan import make_plan, recipe_values
from flows.orchestration.forecast.stages import STAGES
from flows.orchestration.params import ParamsError

ROOT = Path(__file__).resolve().parents[3]
NOTHING = Disk(0, 0, 0, 0, 0)


@pytest.fixture
def project(tmp_path):
    """dvc.yaml and a recipe of its own, with candidates that no disk would hold."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / ".dvc").mkdir()
    text = (ROOT / "tests/smoke.yaml").read_text()
    (tmp_path / "params.yaml").write_text(
        re.sub(r"^  prompts: 24$", "  prompts: 100000000000", text, flags=re.MULTILINE)
    )
    return tmp_path


def everything() -> set[str]:
    return {s.stage for s in make_plan(recipe_values(ROOT, ROOT / "tests/smoke.yaml"), ROOT).steps}


def test_a_run_that_does_not_fit_is_refused_before_it_starts(project):
    for command in (["git", "init", "-q"], ["git", "add", "."]):
        subprocess.run(command, cwd=project, check=True)
    for path in ("data/revoked", "data/annotations"):
        shutil.copytree(ROOT / path, project / path)
    with pytest.raises(DiskError, match="--ignore-disk"):
        pipeline.run(project, ["reasoning"], jobs=1)
    assert not list(project.glob("work/runs/*.json")) and not (project / "data/01_prompts").exists()


def test_the_refusal_can_be_overridden(project, monkeypatch):
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    for path in ("data/revoked", "data/annotations"):
        shutil.copytree(ROOT / path, project / path)
    monkeypatch.setattr(pipeline, "_run", lambda made: sorted(made.todo))  # what comes after the check
    assert "candidates" in pipeline.run(project, ["reasoning"], jobs=1, ignore_disk=True)


def test_the_message_says_what_is_needed_what_is_free_and_what_is_missing(project):
    with pytest.raises(DiskError) as refused:
        room.check(project, everything(), 2)
    free = shutil.disk_usage(project).free / 1e9
    need, there, short = (
        float(number.replace(",", "")) * {"TB": 1000, "GB": 1}[unit]
        for number, unit in re.findall(
            r"(?:about|and|free:) ([\d.,]+) (TB|GB) (?:on the|are|too few)", str(refused.value)
        )
    )
    assert need > 1000 and there == pytest.approx(free, rel=0.2) and short == pytest.approx(need - there, rel=0.01)
    assert "smoke" in str(refused.value) and "DVC's cache" in str(refused.value)


def test_only_the_stages_that_are_to_run_count(project):
    room.check(project, everything() - {"candidates", "reasoning", "sft_data", "dev3", "verdicts"}, 2)
    with pytest.raises(DiskError):
        room.check(project, {"candidates"}, 2)


def test_a_recipe_that_fits_is_let_through(project):
    shutil.copy(ROOT / "tests/smoke.yaml", project / "params.yaml")
    room.check(project, everything(), 2)


def test_a_project_with_other_stages_is_not_checked(project):
    (project / "dvc.yaml").write_text("stages:\n  grow:\n    cmd: python -m flows.grow\n")
    room.check(project, {"grow"}, 2)
    assert "grow" not in STAGES


@pytest.mark.parametrize(
    "types, linked", [("", False), ("reflink,copy", False), ("hardlink,copy", True), ("symlink", True)]
)
def test_linked_caches_take_no_room_of_their_own(project, types, linked):
    (project / ".dvc/config").write_text(f"[cache]\n    type = {types}\n" if types else "")
    assert disk.is_linked(project) is linked
    made = make_plan(recipe_values(ROOT, ROOT / "tests/smoke.yaml"), ROOT)
    assert (disk.disk_of(made.steps, linked=linked).cache == 0) is linked


def test_a_cache_on_another_disk_is_looked_at_there(tmp_path):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system at /dev/shm")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(f"[cache]\n    dir = {other}\n")
    assert disk.cache_folder(tmp_path) == other
    too_much = shutil.disk_usage(other).free + 1e12
    with pytest.raises(DiskError, match="/dev/shm .*DVC's cache"):
        disk.room(tmp_path, Disk(0, 0, too_much, 0, 0), 1, "mine")
    disk.room(tmp_path, NOTHING, 1, "mine")
    (tmp_path / ".dvc/config.local").write_text("[cache]\n    dir = ../elsewhere\n")
    assert disk.cache_folder(tmp_path).resolve() == tmp_path / "elsewhere"
    (tmp_path / ".dvc/config.local").write_text("no section\n")
    with pytest.raises(ParamsError, match="config.local"):
        disk.cache_folder(tmp_path)
