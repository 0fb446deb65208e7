"""A checkpoint ready to sample from."""

from dataclasses import dataclass
from pathlib import Path

from tasks.provenance.artifacts import weights_sha


@dataclass
class Policy:
    model: object  # transformers causal LM in eval mode
    tokenizer: object
    sha: str  # sha256 of the weights; names the model in every completion


def load_policy(folder: Path, threads: int = 1) -> Policy:
    """Load a checkpoint for sampling, on the GPU in bf16 where there is one, else on `threads` CPU threads."""
    import torch

    from tasks.training.checkpoints import load

    torch.set_num_threads(threads)
    gpu = torch.cuda.is_available()
    model, tokenizer = load(folder, bf16=gpu)
    return Policy(model.to("cuda" if gpu else "cpu").eval(), tokenizer, weights_sha(folder))
