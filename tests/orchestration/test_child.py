"""What a run makes of the stages it starts: two runs in one checkout, good ends. Small programs stand in for dvc."""

import sys
import threading
from dataclasses import replace

import pytest

from flows.orchestration import child, guard
from flows.orchestration.child import CACHED, CANCELLED, FAILED, Children, Outcome
from flows.orchestration.dag import load_dag
from tests.toy.project import REPO, until

NODE = replace(load_dag(REPO)["base"], stage="base")
FAILS = (
    "import os, time; print('begun', os.getpid(), flush=True); time.sleep(0.5); exit('[base] failed: the frost came')"
)
RESTORES = "print('Stage base is cached - skipping run, checking out outputs')"


@pytest.fixture
def dvc(monkeypatch):
    return lambda program: monkeypatch.setattr(child, "DVC", (sys.executable, "-c", program))


def _begin(children: Children, outcomes: list[Outcome]) -> threading.Thread:
    thread = threading.Thread(target=lambda: outcomes.append(children.run(NODE)))
    thread.start()
    return thread


def test_a_second_run_waits_its_turn_and_a_failure_is_each_runs_own(tmp_path, dvc):
    dvc(FAILS)
    outcomes, log = [], tmp_path / "work/logs/base.log"
    first, second, third = (Children(tmp_path, 1) for _ in range(3))
    threads = [_begin(first, outcomes)]
    until(lambda: log.exists() and "begun" in log.read_text(), what="the first to begin")
    words = log.read_text()
    threads += [_begin(second, outcomes), _begin(third, outcomes)]
    until(lambda: second.progress("base") and third.progress("base"), what="the others to wait")
    assert second.progress("base")["note"].startswith(f"waits: the stage {guard.BUSY} process ")
    assert log.read_text().startswith(words) and log.read_text().count("begun") == 1
    third.cancel("base")
    for thread in threads:
        thread.join(30)
    assert [o.state for o in outcomes if o.state != CANCELLED] == [FAILED, FAILED] and len(outcomes) == 3
    assert {o.message for o in outcomes if o.state == FAILED} == {"the frost came"}
    assert all(o.attempts == 1 for o in outcomes) and log.read_text().count("begun") == 1


def test_what_dvc_restores_is_whole_whatever_a_kill_has_left_of_it(tmp_path, dvc):
    dvc(RESTORES)
    seal = tmp_path / "work/base/0123/sealed.json"
    seal.parent.mkdir(parents=True)
    seal.write_text("{}")
    with guard.hold(tmp_path, "base"):  # it is publishing right now
        guard.unseal(tmp_path, ["base"])
    assert seal.exists()
    assert Children(tmp_path, 1).run(NODE).state == CACHED and not seal.exists()
