"""A checkpoint ready to sample from."""

import functools
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


class TokenizerOf:
    """For an engine that holds no weights itself: what it needs of `self.checkpoint`, read when it is first asked for."""

    checkpoint: Path

    @functools.cached_property
    def tokenizer(self):
        """By our own loader: others may rebuild one from the config's architecture."""
        from tasks.training.tokenizer import load_tokenizer

        return load_tokenizer(self.checkpoint)

    @functools.cached_property
    def end(self) -> list[int]:
        """Ids that end a completion."""
        return end_of(self.checkpoint, self.tokenizer)


def end_of(folder: Path, tokenizer) -> list[int]:
    """Ids that end a completion of the checkpoint in `folder`: the tokenizer's, and those of its generation config."""
    from transformers import GenerationConfig

    there = (folder / "generation_config.json").is_file()
    return end_ids(tokenizer, GenerationConfig.from_pretrained(folder) if there else None)


def end_ids(tokenizer, generation_config) -> list[int]:
    """The same of a model that is loaded already."""
    more = generation_config.eos_token_id if generation_config else None
    return sorted({tokenizer.eos_token_id, *(more if isinstance(more, list) else [more] if more is not None else [])})
