"""A checkpoint, prompts, and `r1 serve` on that checkpoint, once for all tests of this folder.

The checkpoint is the `cpu` recipe's R1 where this checkout has built it (data/17_r1); else a tiny model that learns the
problems of the final split by heart in a few seconds: what counts is that the engines agree on what it does.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tasks.provenance.artifacts import read_rows, write_manifest
from tasks.rows import PROMPT
from tasks.sampling import servers
from tests.compiled import copy_compiled

ROOT = Path(__file__).resolve().parents[2]
R1, HERE = "data/17_r1", "data/08_dev2"  # where the recipe has it, and where the stages of these tests look for it


@pytest.fixture(scope="session", autouse=True)
def vllm() -> servers.Program:
    """The vLLM of this machine; without one every test here is skipped, with what `make vllm` said."""
    try:
        return servers.choose("vllm")
    except servers.ServerError as error:
        why = ROOT / ".venv-vllm/why"
        said = f" `make vllm` said: {why.read_text().strip()[-300:]}" if why.is_file() else ""
        pytest.skip(f"{error}.{said}")


@dataclass
class Checkout:
    """A checkout with prompts and one checkpoint, in which single stages run."""

    root: Path

    @property
    def checkpoint(self) -> Path:
        return self.root / HERE

    def configure(self, **sections: dict) -> None:
        """params.yaml: the `cpu` recipe's, with these keys of these sections changed."""
        params = yaml.safe_load((ROOT / "recipes/cpu.yaml").read_text())
        source = {
            "name": "running-sums",
            "family": "running_sums",
            "count": 400,
            "domain": "maths",
            "licence": "generated",
        }
        params["prompts"] |= {"sources": [source]}
        params["candidates"] |= {
            "model": HERE,
            "sources": ["running-sums"],
            "prompts": 24,
            "samples": 4,
            "max_tokens": 96,
        }
        params["evaluate"] |= {"models": {"r1": HERE}, "problems": 30, "k": 16, "max_tokens": 96}
        for name, changes in sections.items():
            params[name] |= changes
        (self.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def begin(self, stage: str, *item: str) -> subprocess.Popen:
        """The stage's process, as DVC starts it."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "PREFECT_"))}
        env |= {"PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", f"flows.{stage}", *item], cwd=self.root, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, stage: str, *item: str) -> dict:
        """Its metrics, once it has run."""
        process = self.begin(stage, *item)
        said, _ = process.communicate(timeout=900)
        assert process.returncode == 0, said
        return json.loads((self.root / "metrics" / Path(stage, *item).with_suffix(".json")).read_text())

    def ledgers(self, stage: str) -> list[Path]:
        """Files in which the stage keeps what it has been answered."""
        return [p for p in (self.root / "work").rglob("*.jsonl") if stage in str(p.relative_to(self.root))]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory, vllm) -> Checkout:
    root = tmp_path_factory.mktemp("served")
    for folder in ("flows", "tasks"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    copy_compiled(ROOT, root)
    shutil.copy(ROOT / "dvc.yaml", root)
    shutil.copytree(ROOT / "data/revoked", root / "data/revoked")
    made = Checkout(root)
    made.configure()
    made.run("prompts")
    if (ROOT / R1 / "manifest.json").is_file():
        shutil.copytree(ROOT / R1, root / HERE)
    else:
        learn_by_heart(read_rows(root / "data/01_final", "final", PROMPT), root / HERE)
    return made


def learn_by_heart(rows: list[dict], folder: Path, epochs: int = 60) -> None:
    """A decoder of 60k parameters that knows most solutions of these PROMPT rows, published as a checkpoint."""
    import torch

    from tasks.prompts.templates import render
    from tasks.training.checkpoints import save
    from tasks.training.pretrain import build_model
    from tasks.training.settings import Pretrain
    from tasks.training.tokenizer import train_tokenizer

    texts = [(render("bare", r["text"]), r["solution"]) for r in rows]
    tokenizer = train_tokenizer([q + a for q, a in texts], ["<think>", "</think>", "<answer>", "</answer>"])
    model = build_model(Pretrain(hidden=64, layers=2, heads=2), tokenizer, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(epochs):
        for start in range(0, len(texts), 8):
            batch = texts[start : start + 8]
            tokens = tokenizer(
                [q + a + tokenizer.eos_token for q, a in batch], padding=True, padding_side="right", return_tensors="pt"
            )
            labels = tokens["input_ids"].masked_fill(tokens["attention_mask"] == 0, -100)
            for i, (question, _) in enumerate(batch):
                labels[i, : len(tokenizer(question)["input_ids"])] = -100
            model(**tokens, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    save(model, tokenizer, folder)
    write_manifest(folder, stage="test")


@dataclass
class Served:
    """`r1 serve` in the foreground of a process of its own, and what it said when it was ready."""

    process: subprocess.Popen
    url: str
    model: str
    pid: int  # of the server's first process when it was ready
    log: Path


@pytest.fixture(scope="session")
def served(checkout) -> Iterator[Served]:
    command = [sys.executable, "-m", "flows.cli.main", "serve", str(checkout.checkpoint), "--engine", "vllm", "--json"]
    command += ["--threads", "1"]  # the other worker of the test run needs the other core
    env = os.environ | {"PYTHONPATH": str(checkout.root)}
    with subprocess.Popen(command, cwd=checkout.root, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line, "r1 serve ended before it was ready; what it said is above"
            facts = json.loads(line)
            yield Served(process, facts["url"], facts["model"], facts["pid"], Path(facts["log"]))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
