"""The base model (paper 2: DeepSeek-V3-Base). Every later SFT starts from it, never from R1-Zero.

Departure: at `cpu` it is a 0.5M-parameter decoder pretrained here from scratch on procedural text, clean chains of
thought first, then a noisy mixture; other recipes name a folder or a pinned revision.
"""

from flows.orchestration.stage import Run, stage
from tasks.prompts.corpus import pretraining_set
from tasks.settings import Settings
from tasks.training import checkpoints
from tasks.training.pretrain import pretrain_checkpoint
from tasks.training.settings import Model


class Params(Settings):
    model: Model


def make(model: Model, run: Run) -> dict:
    """One base into run.out; the bases of the students are made the same way."""
    if model.pretrain is None:
        checkpoints.fetch(model, run.out)
        run.curve([])
        return {"parameters": checkpoints.parameters(run.out), "tokens": None, "origin": model.hub or model.path}
    text = pretraining_set(run.template)
    metrics, curve = pretrain_checkpoint(
        model.pretrain, text, run.seed, run.work, run.out, run.progress, run.threads
    )
    run.curve(curve)
    return metrics | {"origin": "pretrained"}


def body(p: Params, run: Run) -> dict:
    return make(p.model, run)


if __name__ == "__main__":
    stage(body, Params)
