import json
import shutil
from dataclasses import replace

import pytest

from tasks.provenance.artifacts import write_manifest
from tasks.provenance.audit.books import Books
from tasks.responses import TAGS
from tasks.training import checkpoints
from tasks.training.pretrain import build_model
from tasks.training.settings import Pretrain
from tasks.training.tokenizer import train_tokenizer
from tests.provenance.audit import made_books


def books_at(root) -> Books:
    """The books of this checkout with the edges that the audit's own tests do without."""
    found = made_books.books(root)
    maker = {out: name for name, stage in found.stages.items() for out in stage.outs}
    above = {name: tuple(dict.fromkeys(maker[i] for i in s.inputs if i in maker)) for name, s in found.stages.items()}
    return replace(
        found, stages={n: replace(s, upstream=above[n], desc=f"{n} (paper 2)") for n, s in found.stages.items()}
    )


def untrained(folder) -> None:
    """A checkpoint as the stages save them: our tokenizer, a decoder that has learnt nothing."""
    tokenizer = train_tokenizer(["User: Compute 5 A+1 B-2.\nAssistant: <think> First A+1=6. </think>"], TAGS, 300)
    checkpoints.save(build_model(Pretrain(hidden=32, layers=1, heads=2), tokenizer, 0), tokenizer, folder)


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A small checkout whose R1 is a real checkpoint; not to be changed."""
    root = tmp_path_factory.mktemp("published") / "checkout"
    made_books.build(root)
    shutil.rmtree(root / "data/17_r1")
    untrained(root / "data/17_r1")
    for stage, path in (("r1", "data/17_r1"), ("sft_data", "data/13_sft_data"), ("reasoning", "data/11_reasoning")):
        write_manifest(root / path, stage=stage, seed=0, code="c0de" * 4, params={"template": "bare"})
    assert json.loads((root / "metrics/evaluate/r1.json").read_text())["checkpoint"] == "data/17_r1"
    return root


@pytest.fixture
def checkout(published, tmp_path):
    """A copy to tamper with."""
    return shutil.copytree(published, tmp_path / "checkout")
