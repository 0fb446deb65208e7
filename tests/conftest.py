"""Shared by the tests: one thread, and a tiny model trained for a few seconds, once for all workers."""

import functools
import gc
import os
import re
import shutil
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("R1_CPU_SLOTS", "0")  # stages of tests take no turns with what else runs on this machine
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

gc.set_threshold(50_000)  # as flows/__init__.py has it for stages: two thirds of a test run is imports and start-up

import pytest

from tests.once import once
from tests.toy.project import oak_template, sown, sown_template, toy, toy_template, whole_template  # noqa: F401
from tests.vllm_server.summary import pytest_configure, pytest_terminal_summary  # noqa: F401

TESTS = Path(__file__).parent
TOGETHER = ("whole_dag", "vllm_server")  # folders whose files share what took minutes to build, on one worker
# So that nobody waits at the end for the one who began the longest last; a browser waits less beside fewer of these.
LONGEST_FIRST = (
    "whole_dag",
    "vllm_server",
    "orchestration",
    "faults",
    "training",
    "ui",
    "execution",
    "flows",
    "sampling",
)
SERVED = re.compile(r"^def \w+\([^)]*\b(?:the_server|server|door)\b", re.MULTILINE)


@functools.cache
def _unit(file: str) -> str:
    """What one worker runs whole: a file, a folder of TOGETHER, or all that needs tests/orchestration's Prefect server."""
    folder = Path(file).relative_to(TESTS.name).parts[0]
    if folder in TOGETHER:
        return folder
    served = folder == "orchestration" and SERVED.search((TESTS.parent / file).read_text(encoding="utf-8"))
    return "server" if served else file


def pytest_xdist_make_scheduler(config, log):
    """One worker for each unit. (xdist 3.8's own groups have no effect under pytest 9.2, where node ids are fixed.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Units(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid.partition("::")[0])

    return Units(config, log)


def pytest_collection_modifyitems(items):
    """What takes longest begins first."""

    def turn(item) -> int:
        folder = item.path.relative_to(TESTS).parts[0]
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

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

    def make(folder: Path) -> None:
        (folder / "work").mkdir()
        settings = Pretrain(hidden=32, layers=2, heads=2, tokens=60_000)
        pretrain_checkpoint(settings, pretraining_set("bare"), 0, folder / "work", folder / "checkpoint")
        write_manifest(folder / "checkpoint", stage="test")

    return once(tmp_path_factory, "checkpoint", make) / "checkpoint"


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
