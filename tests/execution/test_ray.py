"""A Ray cluster of two nodes on this machine: the same bytes as here, also when a node is killed in the middle.

Starting a node takes seconds of both cores, so the tests that kill one come last.
"""

import contextlib
import hashlib
import json
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.orchestration.guard import environment
from tasks import execution_ray
from tasks.curation import near_duplicates_partitions
from tasks.execution import ExecutionError
from tasks.execution_ray import QUIET_AND_PATIENT, Ray
from tasks.sampling.engine import TransformersSettings, open_engine
from tasks.verification import spread
from tasks.verification.verify import verify_all
from tests.compiled import compile_once
from tests.curation.made_candidates import POLICY, candidates, curated, write
from tests.execution import ray_jobs

pytest.importorskip("ray", reason="the extra `ray` is not installed: .venv/bin/pip install --editable '.[ray]'")


class Nodes:
    """The cluster: a head that the driver sits on, and one node that may be killed; each has one core."""

    def __init__(self):
        os.environ |= QUIET_AND_PATIENT
        from ray.cluster_utils import Cluster

        self.node = {"num_cpus": 1}
        head = self.node | {"include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.other = None

    def two(self) -> None:
        if self.other is None:
            self.other = self.cluster.add_node(**self.node)

    def kill(self) -> str:
        """SIGKILL for every process of the second node; its id."""
        node, self.other = self.other, None
        self.cluster.remove_node(node, allow_graceful=False)
        return node.node_id


@pytest.fixture(scope="module")
def nodes():
    made = Nodes()
    yield made
    made.cluster.shutdown()


@pytest.fixture(scope="module")
def ray(nodes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", nodes.cluster.address)
        with Ray(threads=1, environment=environment(1)) as connected:
            yield connected


@pytest.fixture
def both(nodes, ray):
    """Two nodes alive."""
    nodes.two()
    return nodes


def until(true, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.is_file()}


def test_verdicts_are_those_of_one_machine(ray, both, tmp_path, monkeypatch):
    monkeypatch.setattr(spread, "ROWS", 16)
    prompts = [{"id": f"p{i}", "domain": "maths", "gold": str(i), "meta": "{}"} for i in range(40)]
    texts = [f"<answer>{i + (i % 3 == 0)}</answer>" if i % 7 else "no answer \ud800" for i in range(40)]
    texts[5] = None
    done = []
    found = spread.verify_on(ray, prompts, texts, tmp_path, lambda n, of: done.append((n, of)))
    assert found == verify_all(prompts, texts) and done == [(16, 40), (32, 40), (40, 40)]
    assert {v.status for v in found} == {"ok", "wrong", "unparsable"}
    golds = [*prompts[:20], {"domain": "maths", "gold": "", "meta": "{}"}]
    assert spread.gold_problems_on(ray, golds, tmp_path) == spread.gold_problems(golds)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert spread.verify_on(ray, prompts, texts, tmp_path) == found  # read again, not decided again
    assert {p: p.stat().st_mtime_ns for p in before if ".answers." in p.name}.items() <= before.items()


def test_a_node_has_the_environment_of_a_stage(ray, both):
    wanted = environment(1)
    (found,) = ray.map(ray_jobs.settings, [list(wanted)])
    assert dict(zip(wanted, found, strict=True)) == wanted


def test_what_a_job_raises_is_raised_here_and_the_cluster_goes_on(ray, both):
    with pytest.raises(ExecutionError) as failed:
        list(ray.map(ray_jobs.fails, range(4)))
    assert str(failed.value) == "row 2 is bad"
    with pytest.raises(OSError) as failed:
        list(ray.map(ray_jobs.raises, ["path"]))
    assert (failed.value.errno, failed.value.filename) == (28, "/full/file")
    with pytest.raises(KeyError) as failed:
        list(ray.map(ray_jobs.raises, ["key"]))
    assert failed.value.args == ("gold",)
    with pytest.raises(ExecutionError, match="^Odd: 7 is odd$"):
        list(ray.map(ray_jobs.raises, ["odd"]))
    assert list(ray.map(ray_jobs.fails, [7, 8])) == [7, 8]


def test_a_caller_who_leaves_leaves_no_thread_and_nothing_is_begun_any_more(ray, both, tmp_path):
    jobs = [tmp_path] * 12, list(range(12))
    (tmp_path / "go").touch()
    for made in ray.map(ray_jobs.waits, *jobs):
        (tmp_path / "go").unlink()
        break
    left = {"results of Ray", "StreamingExecutor"}
    (tmp_path / "go").touch()  # one more result tells the reader
    until(lambda: not any(t.name.startswith(tuple(left)) for t in threading.enumerate()))
    tried = sorted(p.name for p in tmp_path.glob("tried-*"))
    time.sleep(2)
    assert sorted(p.name for p in tmp_path.glob("tried-*")) == tried and made.name == "0.txt"
    assert list(ray.map(ray_jobs.fails, [7, 8])) == [7, 8]


def test_a_job_whose_process_dies_every_time_is_an_error(ray, both, monkeypatch):
    monkeypatch.setattr(execution_ray, "RETRIES", 1)
    with pytest.raises(
        ExecutionError, match=r"lost on the Ray cluster 2 times .* or more memory; what is finished is kept"
    ):
        list(ray.map(ray_jobs.dies, [1]))


def test_work_that_fits_no_node_is_refused_by_name(ray, both):
    wide = Ray(threads=3)
    wide._ray = ray._connected()
    with pytest.raises(ExecutionError, match=r"no node .* needs 3 CPU \(living nodes: 1 CPU, 0 GPU; 1 CPU, 0 GPU"):
        list(wide.map(abs, [-1]))


def test_a_killed_node_loses_nothing_and_doubles_nothing(ray, both, tmp_path):
    made = []
    jobs = [tmp_path] * 6, list(range(6))
    work = threading.Thread(target=lambda: made.extend(ray.map(ray_jobs.waits, *jobs)), daemon=True)
    work.start()
    tried = lambda: [p.name.split("-") for p in tmp_path.glob("tried-*")]
    until(lambda: len({node for _, _, node, _ in tried()}) == 2 or not work.is_alive())
    dead = both.kill()
    lost = {number for _, number, node, _ in tried() if node == dead}
    for pid in {int(pid) for _, _, node, pid in tried() if node == dead}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # a machine takes its workers along; a raylet alone may leave them a moment
    (tmp_path / "go").touch()
    work.join(60)
    assert made == [tmp_path / f"{i}.txt" for i in range(6)]
    assert [int(path.read_text()) for path in made] == [i**2 for i in range(6)]
    assert len(list(tmp_path.glob("*.txt*"))) == 6, "a file that nobody asked for"
    again = {number for _, number, node, _ in tried() if node != dead}
    assert lost and lost <= again and again == {str(i) for i in range(6)}


def test_samples_are_those_of_one_machine_also_when_a_node_dies(ray, both, checkpoint, tmp_path):
    prompts = [f"User: Compute {i} A+7 B+{i % 9}\nAssistant: " for i in range(40)]
    settings = TransformersSettings(batch_rows=16)
    how = {"k": 4, "temperature": 1.0, "top_p": 0.9, "max_tokens": 24, "seed": 5}
    with open_engine(settings, checkpoint, tmp_path / "here") as engine:
        here = engine.sample(prompts, **how)
    killed = []

    def progress(done, total, *_, **__):
        if not killed:
            killed.append(both.kill())

    with open_engine(settings, checkpoint, tmp_path / "there", execution=ray) as engine:
        there = engine.sample(prompts, **how, progress=progress)
        assert engine.name == "transformers" and len(engine.ledger) == 10 and killed
    assert there == here
    nobody = SimpleNamespace(remote=True, gpus=0, map=None)
    with open_engine(settings, checkpoint, tmp_path / "there", execution=nobody) as engine:  # all of it is kept
        assert engine.sample(prompts, **how) == here


def test_curation_gives_the_same_files_also_when_a_node_dies(ray, both, tmp_path, monkeypatch):
    compile_once()
    rows = candidates(240)
    for i in range(6):
        write(tmp_path / f"in/{i}.parquet", rows[i::6])
    (tmp_path / "in/more.jsonl").write_text("".join(json.dumps(r | {"id": r["id"] + "j"}) + "\n" for r in rows[:40]))
    curated([tmp_path / "in"], POLICY, tmp_path / "here")
    killed = []

    def progress(step, done, total):
        if step == "reading texts" and done and not killed:
            killed.append(both.kill())

    monkeypatch.setattr(near_duplicates_partitions, "KEYS", 500)  # several partitions
    curated([tmp_path / "in"], POLICY, tmp_path / "there", execution=ray, progress=progress)
    assert killed and digests(tmp_path / "there") == digests(tmp_path / "here")
    assert not list(tmp_path.rglob("*.new"))
