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


def end_of(folder: Path, tokenizer) -> list[int]:
    """Ids that end a completion of the checkpoint in `folder`: the tokenizer's, and those of its generation config."""
    from transformers import GenerationConfig

    there = (folder / "generation_config.json").is_file()
    return end_ids(tokenizer, GenerationConfig.from_pretrained(folder) if there else None)


def end_ids(tokenizer, generation_config) -> list[int]:
    """The same of a model that is loaded already."""
    more = generation_config.eos_token_id if generation_config else None
    return sorted({tokenizer.eos_token_id, *(more if isinstance(more, list) else [more] if more is not None else [])})
