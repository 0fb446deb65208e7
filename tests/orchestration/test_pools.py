"""Stages that another machine builds: two workers in two clones, one of them killed over its stage; and refusals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.orchestration import pools
from flows.orchestration.dag import load_dag
from flows.orchestration.pool_checkout import checkout
from tests.faults.all_of_it import all_of_it
from tests.toy.project import Toy, until


def _pooled(toy: Toy) -> Toy:
    """The toy DAG with a DVC remote, and `grow` sent to pool gpu; committed."""
    with open(toy.root / ".dvc" / "config", "a") as config:
        config.write(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {toy.root.parent / 'store'}\n")
    dvc_yaml = toy.root / "dvc.yaml"
    dvc_yaml.write_text(dvc_yaml.read_text().replace("{gpu: true}", "{pool: gpu}"))
    toy.git("commit", "-qam", "grow in a pool")
    return toy


def _clone(toy: Toy, name: str) -> Toy:
    toy.git("clone", "-q", str(toy.root), str(toy.root.parent / name))
    return Toy(toy.root.parent / name)


def _job(toy: Toy, stage: str = "grow@oak") -> pools.Job:
    dag = load_dag(toy.root)
    return pools.describe(toy.root, dag, dag[stage])


class Worker:
    """`r1 worker gpu` in a clone, with its log."""

    def __init__(self, clone: Toy, env: dict[str, str]):
        self.clone, self.log = clone, clone.root.parent / f"{clone.root.name}.log"
        with open(self.log, "w") as log:
            command = clone.r1_command("worker", "gpu")
            self.process = subprocess.Popen(
                command, cwd=clone.root, env=clone.env(**env), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return "started!" in self.log.read_text()

    def builds(self, stage: str) -> bool:
        return bool(list((self.clone.root / "work/pool" / stage / "work" / stage).glob("*/state.json")))

    def processes(self) -> dict[int, str]:
        """What runs in the clone or in a job's checkout below it."""
        found = {}
        for proc in Path("/proc").glob("[0-9]*"):
            try:
                if Path(os.readlink(proc / "cwd")).is_relative_to(self.clone.root):
                    found[int(proc.name)] = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:  # Prefect's worker asks a busy server once more before it goes
                self.process.kill()
                self.process.wait()


@pytest.fixture
def two_workers(toy, server):
    """The pooled toy project, and a worker in each of two clones of it."""
    _pooled(toy)
    workers = [Worker(_clone(toy, name), server.env) for name in ("one", "two")]
    try:
        for worker in workers:
            until(worker.up, 300, "a worker")
        yield toy, workers
    finally:
        for worker in workers:
            worker.end()


@all_of_it
def test_a_worker_may_die_over_its_stage_and_the_other_builds_it(two_workers, server):
    toy, workers = two_workers
    toy.set("grow.plants.oak", {"steps": 30, "seconds": 0.3})  # not committed: params.yaml travels with the job
    here = toy.copy(toy.root.parent / "here")
    for worker in workers:
        (worker.clone.root / "params.yaml").write_text("mine: half edited\n")  # a worker's own files do not matter
    run = toy.start(*toy.r1_command("run", "grow@oak"), **server.env, R1_POOL_LOST="20")
    victim = until(lambda: next((w for w in workers if w.builds("grow@oak")), None), 240, "a worker at grow@oak")
    victim.process.kill()
    until(lambda: not victim.processes(), 15, "the job to die with its worker")
    said, _ = run.communicate(timeout=400)
    log = toy.read("work/logs/grow@oak.log")
    assert run.returncode == 0 and "2 Completed in" in said, said + log

    assert "the worker of pool gpu is gone (no sign of life for" in log and log.count("sent to work pool gpu") == 2
    assert log.count("[grow@oak] done in") == 1, "what the stage says on the other machine is read here"
    runs = [r for r in server.ask("flow_runs") if "via:pool" in r["tags"]]
    assert sorted((r["name"], r["state_type"]) for r in runs) == [
        ("grow@oak on gpu", "COMPLETED"),
        ("grow@oak on gpu", "CRASHED"),
    ]
    assert json.loads(toy.read("work/runs/grow@oak.json"))["stage"] == "grow@oak", "the run book came along"
    assert all(w.clone.read("params.yaml") == "mine: half edited\n" and not w.clone.has("data") for w in workers)
    here.dvc("repro", "grow@oak")  # the same, built here
    assert toy.read("dvc.lock") == here.read("dvc.lock")
    assert toy.read("metrics/grow/oak.json") == here.read("metrics/grow/oak.json")

    third = _clone(toy, "third")  # finds it on the remote and sends nothing
    for path in ("params.yaml", "dvc.lock"):
        (third.root / path).write_bytes((toy.root / path).read_bytes())
    third.dvc("pull", "data/01_numbers")
    command = (sys.executable, "-m", "flows.orchestration.pools", "grow@oak")
    assert "on the DVC remote already" in third.call(*command, **server.env)


def test_a_failure_over_there_is_told_here(toy, tmp_path):
    """What a worker without the commit says is what the pipeline shows; no server needed to see it said."""
    _pooled(toy)
    other = _clone(toy, "other")
    toy.set("seed", 4)
    toy.git("commit", "-qam", "not pushed")
    job = _job(toy)
    other.git("remote", "set-url", "origin", str(tmp_path / "unplugged"))
    with pytest.raises(pools.PoolError, match=rf"has no commit {job.commit[:8]}.*`git fetch` failed.*`git push` it"):
        with checkout(other.root, job):
            pass
    other.git("remote", "set-url", "origin", str(toy.root))
    with checkout(other.root, job) as place:
        assert (place / "params.yaml").read_text() == toy.read("params.yaml")
        config = (place / ".dvc" / "config.local").read_text()
        assert (place / ".dvc" / "config.local").stat().st_mode & 0o777 == 0o600
        assert str(other.root / ".dvc" / "cache") in config and str(toy.root.parent / "store") in config
    assert not place.exists()


def test_uncommitted_code_is_refused_and_small_files_travel(toy):
    _pooled(toy)
    toy.set("numbers.count", 7)
    (toy.root / "metrics" / "grow").mkdir(parents=True)
    (toy.root / "metrics" / "grow" / "oak.json").write_text("{}\n")
    job = _job(toy, "harvest")
    assert job.inputs == ["data/02_held_out", "data/03_grow/oak"]
    assert job.carried == {"params.yaml": toy.read("params.yaml"), "metrics/grow/oak.json": "{}\n"}
    (toy.root / "flows" / "grow.py").write_text("# edited\n")
    with pytest.raises(pools.PoolError, match=r"flows/grow.py differs from commit .*`git commit` it .*R1_POOLS=off"):
        _job(toy)
    _job(toy, "harvest")  # reads none of it


def test_what_neither_git_nor_dvc_knows_is_refused(toy):
    _pooled(toy)
    dvc_yaml = toy.root / "dvc.yaml"
    dvc_yaml.write_text(
        dvc_yaml.read_text().replace("deps: [flows/numbers.py]", "deps: [flows/numbers.py, data/own.csv]")
    )
    toy.git("commit", "-qam", "reads a file of its own")
    (toy.root / "data").mkdir()
    (toy.root / "data" / "own.csv").write_text("1\n")
    with pytest.raises(pools.PoolError, match="numbers reads data/own.csv, which neither git nor a stage"):
        _job(toy, "numbers")


@pytest.mark.parametrize("path", ["../outside.txt", "/tmp/outside.txt", ".git/hooks/post-checkout"])
def test_a_job_writes_nowhere_but_into_its_checkout(toy, path):
    import base64
    import gzip

    job = _job(_pooled(toy))
    bad = base64.b64encode(gzip.compress(json.dumps({path: "x"}).encode())).decode()
    with pytest.raises(pools.PoolError, match="lies outside of its checkout: refused"):
        with checkout(_clone(toy, "other").root, job.model_copy(update={"files": bad})):
            pass


def test_where_a_stage_is_built(toy, monkeypatch):
    node = load_dag(_pooled(toy).root)["grow@oak"]
    for name in ("PREFECT_API_URL", pools.WORKER, pools.HERE):
        monkeypatch.delenv(name, raising=False)
    assert pools.elsewhere(node) is None, "no server: here"
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert pools.elsewhere(node, forced=True)[-2:] == ["grow@oak", "--force"]
    assert pools.elsewhere(load_dag(toy.root)["numbers"]) is None, "no pool in dvc.yaml: here"
    monkeypatch.setenv(pools.HERE, "off")
    assert pools.elsewhere(node) is None
    monkeypatch.delenv(pools.HERE)
    monkeypatch.setenv(pools.WORKER, str(toy.root))
    assert pools.elsewhere(node) is None, "a worker sends nothing on"


def test_a_job_that_no_worker_has_begun_is_taken_back(toy, server, monkeypatch):
    from prefect import flow
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr(pools, "POLL", 0.1)
    for name, value in (server.env | {"R1_POOL_PATIENCE": "0.5"}).items():
        monkeypatch.setenv(name, value)
    with temporary_settings({PREFECT_API_URL: server.url}), pools._client() as client:  # it read its own at its import
        client.create_work_pool(WorkPoolCreate(name="idle", type="process"))
        client.create_deployment(client.create_flow(flow(name=pools.FLOW)(print)), "idle", work_pool_name="idle")
        with pytest.raises(pools.PoolError, match="pool idle has no worker that answers"):
            pools.Pool(client, "idle").build(_job(_pooled(toy)), None)
    assert [r["state_type"] for r in server.ask("flow_runs")] == ["CANCELLED"]


def test_a_worker_says_what_it_lacks(toy):
    assert "PREFECT_API_URL" in toy.r1("worker", "gpu", ok=False)
