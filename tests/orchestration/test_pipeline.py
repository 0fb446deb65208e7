"""The pipeline on real dvc processes: side by side, same lock as `dvc repro`, failures, stops, last words."""

import getpass
import json
import resource
import shutil
import signal
import subprocess
import sys

import pytest
import yaml

from flows.orchestration import guard, in_force, pipeline
from tests.faults.all_of_it import all_of_it
from tests.toy.project import Toy, until


@pytest.fixture(scope="module")
def built(toy_template, tmp_path_factory) -> tuple[Toy, str]:
    """A toy project after one `r1 run`, dvc.lock committed; and what the run said."""
    toy = toy_template.copy(tmp_path_factory.mktemp("built") / "toy")
    for plant in ("oak", "fir"):
        toy.set(f"grow.plants.{plant}.seconds", 0.7)
    (toy.root / "recipes/small.yaml").write_text(toy.read("params.yaml"))
    said = toy.r1("run", "--jobs", "2")
    toy.git("add", ".")
    toy.git("commit", "-qm", "run")
    return toy, said


@pytest.fixture
def done(built, tmp_path) -> Toy:
    return built[0].copy(tmp_path / "done")


def test_independent_stages_run_side_by_side(built):
    toy, said = built
    oak, fir = (json.loads(toy.read(f"work/runs/grow@{p}.json")) for p in ("oak", "fir"))
    assert max(oak["started_at"], fir["started_at"]) < min(oak["finished_at"], fir["finished_at"])
    assert "4 Completed in" in said and "| oak | 130 |" in said
    assert "There is no committed dvc.lock" in said
    assert not list((toy.root / "work/runs").glob("*.progress"))


def test_same_lock_as_plain_dvc_repro(built, tmp_path):
    toy, _ = built
    plain = Toy(tmp_path / "plain")
    toy.call("git", "clone", "-q", str(toy.root), str(plain.root))
    (plain.root / "dvc.lock").unlink()
    plain.dvc("repro")
    assert yaml.safe_load(plain.read("dvc.lock")) == yaml.safe_load(toy.read("dvc.lock"))
    assert len(plain.md5s()) == 11


def test_a_run_with_nothing_to_do_is_cheap(done):
    seal = done.root / "work/numbers/0123/sealed.json"  # killed while it published; then DVC brought its outs back
    seal.parent.mkdir(parents=True)
    seal.write_text("{}")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = done.r1("run")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "All 4 stages are up to date." in said
    assert "11 of 11 artifacts reproduced bit for bit" in said and "| plant | height |" in said
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10
    assert not seal.exists(), "what reads its outs would be refused"
    assert "4 of 4 stages are up to date" in done.r1("status")


def test_what_is_stale_does_not_depend_on_the_folder_one_is_in(done, monkeypatch):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(done.root / ".site"))
    monkeypatch.chdir(done.root / "flows")
    stages = ["numbers", "grow@fir", "grow@oak", "harvest"]
    assert pipeline.stale(done.root, stages) == set()
    done.set("grow.plants.fir.steps", 4)
    assert pipeline.stale(done.root, stages) == {"grow@fir"}


def test_only_what_depends_on_a_change_runs(done):
    done.set("grow.plants.fir.steps", 4)
    assert done.r1("status").split()[:2] == ["grow@fir", "changed"]
    said = done.r1("run")
    assert "2 Completed in" in said and "numbers" not in said.split("Other parameters")[0]
    assert "Other parameters than those of the committed dvc.lock (grow.plants.fir)" in said


def test_force_repeats_bit_for_bit_and_a_difference_is_named(done):
    said = done.r1("run", "--force", "grow@oak")
    assert "1 of 2 stages to visit" in said and "11 of 11 artifacts reproduced bit for bit" in said
    flow = done.root / "flows/grow.py"
    flow.write_text(flow.read_text().replace("run.seed % 10", "run.seed % 10 + 5"))
    said = done.r1("run")
    assert "of 11 artifacts reproduced bit for bit; these differ" in said and "data/03_grow/oak" in said
    assert "metrics/grow/oak.json  pass_at_1 0." in said and "(+0.0050)" in said and "Another CPU family" in said


def test_targets_choose_upstream_or_downstream(done):
    said = done.r1("run", "grow@fir")
    assert "leave `harvest` out" in said and "| plant |" not in said, "a table of other targets"
    before = {p.name: p.read_text() for p in (done.root / "work/runs").glob("*.json")}
    done.set("numbers.count", 30)
    assert "2 of 2 stages to visit" in done.r1("run", "grow@fir")
    ran = {name for name, book in before.items() if done.read(f"work/runs/{name}") != book}
    assert ran == {"numbers.json", "grow@fir.json"} and len(before) == 4
    done.set("numbers.count", 40)
    assert "3 of 3 stages to visit" in done.r1("run", "grow", "--jobs", "2")
    assert "did you mean grow or grow@oak" in done.r1("run", "grwo", ok=False)


def test_a_failed_stage_stops_its_dependents_only(toy):
    toy.set("grow.plants.oak.fail_at", 1)
    said = toy.r1("run", "--jobs", "1", ok=False)
    assert "grow@oak failed: ValueError: the frost came" in said
    assert f"log: {toy.root}/work/logs/grow@oak.log" in said
    assert "Not run, because they need what failed: harvest" in said
    assert toy.has("data/03_grow/fir/plant.json") and not toy.has("report")
    assert "Traceback" in toy.read("work/logs/grow@oak.log")


def test_all_bad_params_are_listed_before_anything_runs(toy):
    toy.set("grow.plants.oak.steps", 0)
    toy.set("numbers.cuont", 2)
    toy.set("harvset", {"best": "oak"})
    said = toy.r1("run", ok=False)
    for words in (
        "grow.plants.oak.steps: Input should be",
        "numbers.cuont: unknown key",
        "section `harvset` belongs to no stage",
    ):
        assert words in said
    assert "Traceback" not in said and not toy.has("work/logs") and not toy.has("data")


def test_a_failed_stage_is_tried_again_as_its_meta_says_and_goes_on_from_its_state(done):
    flow, dag = done.root / "flows/grow.py", done.root / "dvc.yaml"
    frost = 'len(heights) == 2 and not os.path.exists("frost") and not open("frost", "w").close()'
    flow.write_text(flow.read_text().replace("len(heights) == plant.fail_at", frost))
    dag.write_text(dag.read_text().replace("{gpu: true}", "{gpu: true, retries: 2, retry_delay: 0.5}"))
    said = done.r1("run", "grow@oak")
    assert "grow@oak: done in" in said and ", at attempt 2" in said and "failed" not in said
    log = done.read("work/logs/grow@oak.log")
    assert log.index("the frost came") < log.index("attempt 2 of 3 in 0.5 s") < log.index("from step 2")


@pytest.mark.parametrize("shell", ["/bin/bash", pytest.param("/bin/sh", marks=all_of_it)])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_pipeline_ends_nothing_goes_on(done, how, shell):
    toy = done
    toy.set("grow.plants.oak", {"steps": 100, "seconds": 0.2})
    run = toy.start(*toy.r1_command("run"), SHELL=shell)
    until(lambda: list((toy.root / "work/grow@oak").glob("*/state.json")), 120, "the first step")
    assert any("flows.grow oak" in c for c in toy.processes().values())
    run.send_signal(how)
    run.communicate(timeout=30)
    assert run.returncode != 0
    until(lambda: not toy.processes(), 12, "all children to end")
    toy.set("grow.plants.oak", {"steps": 100, "seconds": 0.0})
    toy.r1("run", "grow@oak")  # DVC's locks did not outlive their owners


def test_a_shell_that_nobody_has_heard_of_may_stand_between_dvc_and_a_stage(toy, tmp_path):
    shell = tmp_path / "unheard-of"
    shutil.copy("/bin/sh", shell)  # dash: it stays until its command has ended
    toy.r1("run", "numbers", SHELL=str(shell))
    assert toy.has("data/01_numbers")


def test_half_a_table_of_locks_stops_nobody(toy):
    (toy.root / ".dvc/tmp").mkdir(exist_ok=True)
    (toy.root / ".dvc/tmp/rwlock").write_text('{"write": {"/somewh')
    toy.r1("run", "numbers")
    assert toy.has("data/01_numbers")


HOLDER = "from pathlib import Path; from flows.orchestration import guard; l = guard.hold(Path(), 'numbers'); input()"


def test_waits_for_a_stage_that_somebody_else_is_building(toy):
    other = toy.start(sys.executable, "-c", HOLDER, stdin=subprocess.PIPE)
    until(lambda: toy.has("work/locks/numbers.lock") and toy.read("work/locks/numbers.lock"), what="the other's lock")
    run = toy.start(*toy.r1_command("run", "numbers"))
    log = toy.root / "work/logs/numbers.log"
    until(lambda: log.exists() and guard.BUSY in log.read_text(), 60, "the stage to find it busy")
    until(lambda: toy.has("work/runs/.numbers.progress"), what="who watches to be told")
    note = json.loads(toy.read("work/runs/.numbers.progress"))["note"]
    other.communicate("\n", timeout=10)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 0 and "1 Completed in" in said
    # Told who holds it, as a shell is by `dvc repro`: process, user, since when, as which command.
    who = f"numbers {guard.BUSY} process {other.pid} of {getpass.getuser()}, since "
    assert note.startswith(f"waits: the stage {guard.BUSY[:7]}") and f"process {other.pid} of" in note
    assert who in log.read_text() and "guard.hold" in log.read_text() and "Traceback" not in log.read_text()
    assert log.read_text().count(guard.BUSY) == 1, "it waited for that process instead of asking DVC again and again"


def test_recipes_are_put_in_force_and_edits_are_not_lost(toy):
    before = toy.read("params.yaml")
    with in_force.building(toy.root):  # as a pipeline does
        use = toy.start(*toy.r1_command("use", "large"), PYTHONUNBUFFERED="1")
        assert "waiting for a run in this checkout" in use.stdout.readline()
        assert toy.read("params.yaml") == before
    said, _ = use.communicate(timeout=60)
    assert "recipe: small -> large" in said and "numbers.count: 20 -> 40" in said
    assert toy.read("params.yaml") == toy.read("recipes/large.yaml")
    toy.set("seed", 9)
    edited = toy.read("params.yaml")
    said = toy.r1("use", "small", ok=False)
    assert "holds edits that are in no recipe" in said and toy.read("params.yaml") == edited
    toy.r1("use", "small", "--force")
    assert toy.read("params.yaml.bak") == edited and toy.read("params.yaml") == toy.read("recipes/small.yaml")
    assert "did you mean `large`? recipes here: large, small" in toy.r1("use", "lagre", ok=False)
    broken = toy.root / "recipes/broken.yaml"
    broken.write_text(toy.read("recipes/small.yaml").replace("count: 20", "count: -1"))
    assert "recipes/broken.yaml: numbers.count" in toy.r1("use", "broken", ok=False)
    assert toy.read("params.yaml") == toy.read("recipes/small.yaml")


def test_help_and_the_wrong_place(toy, tmp_path):
    assert "Bring the recipe up to date" in toy.r1("--help") and "--downstream" in toy.r1("run", "--help")
    (toy.root / "dvc.yaml").rename(tmp_path / "gone.yaml")
    said = toy.r1("run", ok=False)
    assert "is not inside a checkout of r1flow" in said and "Traceback" not in said
