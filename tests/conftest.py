"""Shared by the tests: one thread, and a tiny model trained for a few seconds once per session."""

import os
import shutil
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("R1_CPU_SLOTS", "0")  # stages of tests take no turns with what else runs on this machine
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import pytest

from tests.toy.project import toy, toy_template  # noqa: F401


TESTS = Path(__file__).parent
TOGETHER = ("whole_dag",)  # folders whose files share what took minutes to build: one worker for all of it
LONGEST_FIRST = ("whole_dag", "orchestration", "faults", "training", "flows")  # so that no worker waits at the end


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the groups in this very hook
def pytest_collection_modifyitems(items):
    """`--dist loadgroup`: a file stays on one worker, and so does a folder of TOGETHER; what takes longest begins first.

    Files of tests/orchestration with a test that asks for `server` or `door` share one worker, and so one Prefect server.
    """

    def turn(item) -> int:
        folder = item.path.relative_to(TESTS).parts[0]
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    def group(item) -> str:
        path = item.path.relative_to(TESTS)
        return path.parts[0] if path.parts[0] in TOGETHER else "server" if item.path in served else str(path)

    orchestration = TESTS / "orchestration"
    served = {i.path for i in items if i.path.is_relative_to(orchestration) and "the_server" in i.fixturenames}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=turn)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Without bubblewrap, what runs programs is skipped with the remedy; -rs lists it. With it, no sandbox is a failure."""
    from tasks.verification.code.jail import SandboxMissing

    try:
        return (yield)
    except SandboxMissing as missing:
        if shutil.which("bwrap"):
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Folder of a published checkpoint: a 40k-parameter decoder that saw 60,000 tokens."""
    from tasks.prompts.corpus import pretraining_set
    from tasks.provenance.artifacts import write_manifest
    from tasks.training.pretrain import pretrain_checkpoint
    from tasks.training.settings import Pretrain

    folder = tmp_path_factory.mktemp("checkpoint")
    settings = Pretrain(hidden=32, layers=2, heads=2, tokens=60_000)
    pretrain_checkpoint(settings, pretraining_set("bare"), 0, tmp_path_factory.mktemp("work"), folder)
    write_manifest(folder, stage="test")
    return folder


@pytest.fixture()
def prompts():
    """24 running sums as PROMPT rows."""
    from tasks.prompts.running_sums import problems

    return [
        {
            "id": f"prompt_{i.index}", "source": "running-sums", "domain": "maths", "split": "train", "text": i.text,
            "gold": i.gold, "solution": i.solution, "language": "en", "licence": "generated", "origin": f"#{i.index}",
            "meta": "{}",
        }
        for i in problems(3, 24)
    ]  # fmt: skip
