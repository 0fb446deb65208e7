"""The transformers engine on many machines: the batches of one machine, each sampled wherever there is room.

The batches and their seeds are laid out as if all were sampled here, so the samples are the same. A batch travels as a
file in the stage's work folder and comes back as one; the weights are read where they are needed, once in a worker.
"""

import functools
import json
import os
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace

from tasks.execution import Execution, unique
from tasks.provenance.artifacts import weights_sha
from tasks.sampling.policy import Policy, load_policy
from tasks.sampling.sample import EngineError, Sample
from tasks.sampling.settings import TransformersSettings
from tasks.sampling.transformers_engine import Batch, TransformersEngine, context_of, ledger_of, sample_batch


class SpreadEngine(TransformersEngine):
    """`policy` needs no weights; `folder` is where batches lie, on a file system that every machine sees."""

    def __init__(
        self, policy: Policy, settings: TransformersSettings, ledger, checkpoint: Path, folder: Path, threads: int,
        execution: Execution,
    ):  # fmt: skip
        super().__init__(policy, settings, ledger)
        self.context = context_of(policy)
        self.checkpoint, self.folder, self.threads, self.execution = checkpoint.resolve(), folder, threads, execution

    def _made(self, batches: list[Batch], keys: list[str], how: dict) -> Iterator[list[list[Sample]]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        asked = [self.folder / f"{key}.asked.json" for key in keys]
        for path, batch in zip(asked, batches, strict=True):
            _write(path, {"places": batch.places, "ids": batch.ids, "seed": batch.seed, "how": how})
        n = len(asked)
        columns = [self.checkpoint] * n, [self.sha] * n, [self.settings] * n, [self.threads] * n, asked
        for question, answer in zip(asked, self.execution.map(sample_file, *columns, gpu=True), strict=True):
            yield [[Sample(*s) for s in group] for group in json.loads(answer.read_bytes())]
            question.unlink(missing_ok=True)  # from here on the ledger has it
            answer.unlink(missing_ok=True)


def sample_file(checkpoint: Path, sha: str, settings: TransformersSettings, threads: int, asked: Path) -> Path:
    """On any machine: the file with the samples of the batch in the file `asked`; one that is there is not made again."""
    answer = asked.with_name(asked.name.replace(".asked.", ".samples."))
    if not answer.is_file():
        question = json.loads(asked.read_bytes())
        how = question.pop("how")
        engine = _engine(checkpoint, settings, threads)
        if engine.sha != sha:
            raise EngineError(
                f"{checkpoint} holds other weights ({engine.sha[:12]}) here than where the run began ({sha[:12]})"
            )
        groups = sample_batch(engine.policy, Batch(**question), **how, decoder=engine.decoder)
        _write(answer, [[astuple(s) for s in group] for group in groups])
    return answer


@functools.lru_cache(1)
def _engine(checkpoint: Path, settings: TransformersSettings, threads: int) -> TransformersEngine:
    return TransformersEngine(load_policy(checkpoint, threads), settings)


def _write(path: Path, content: dict | list) -> None:
    """All of the file or nothing, whoever writes it at the same time."""
    temporary = unique(path)
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def open_on(
    execution: Execution, settings: TransformersSettings, checkpoint: Path, work: Path | None, threads: int
) -> SpreadEngine:
    """The checkpoint on the machines of `execution`; its batches are laid out for the GPUs there, or for CPUs."""
    import torch
    from transformers import AutoConfig

    from tasks.training.tokenizer import load_tokenizer

    if work is None:
        raise EngineError("sampling on other machines needs a work folder that they all see: pass `work`")
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
    model = SimpleNamespace(config=config, dtype=torch.bfloat16 if execution.gpus else torch.float32)
    policy = Policy(model, load_tokenizer(checkpoint), weights_sha(checkpoint))
    ledger = ledger_of(work, policy.sha)
    return SpreadEngine(policy, settings, ledger, checkpoint, work / "batches", threads, execution)
