"""Checkpoints as folders: config, safetensors, tokenizer. No pickle, and no code of theirs is run."""

from pathlib import Path

from tasks.provenance.artifacts import ArtifactError, check_files
from tasks.training.settings import Model
from tasks.training.tokenizer import load_tokenizer, save_tokenizer

PARTS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")  # no code, and no weights that are pickles


def require(folder: Path) -> None:
    """ArtifactError that names what is missing, where the folder is no checkpoint."""
    for need in ("config.json", "tokenizer.json"):
        if not (folder / need).is_file():
            raise ArtifactError(f"{folder} has no {need}: it is no checkpoint")
    if not list(folder.glob("*.safetensors")):
        raise ArtifactError(f"{folder} has no weights (*.safetensors); download them, or convert them from *.bin")


def load(folder: Path, bf16: bool = False, **options):
    """(model, tokenizer) of a checkpoint folder; an incomplete folder is an error that names what is missing.

    options: more keyword arguments of `from_pretrained` (tasks/training/trainable.py).
    """
    import torch
    from transformers import AutoModelForCausalLM

    folder = Path(folder)
    require(folder)
    check_files(folder)
    dtype = torch.bfloat16 if bf16 else torch.float32
    safe = {"use_safetensors": True, "trust_remote_code": False}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **safe, **options)
    return model, load_tokenizer(folder)


def save(model, tokenizer, folder: Path) -> None:
    """Write config, weights and tokenizer under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)


def fetch(model: Model, folder: Path) -> None:
    """Put a local or Hub model (pinned revision) into `folder` as it stands, its context extended where asked."""
    import shutil

    if model.path:
        source = Path(model.path)
        if not source.is_dir():
            raise ArtifactError(f"base model folder {source} does not exist; `path` in params.yaml names it")
    else:
        from huggingface_hub import snapshot_download

        source = Path(snapshot_download(model.hub, revision=model.revision, allow_patterns=list(PARTS)))
    if not list(source.glob("*.safetensors")):
        raise ArtifactError(f"base model {source} has no weights (*.safetensors): nothing can be trained from it")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and any(path.match(part) for part in PARTS) and path.name != "manifest.json":
            shutil.copy2(path, folder / path.name)
    if model.rope:
        from tasks.training.rope import extend_checkpoint

        extend_checkpoint(folder, model.rope)


def parameters(folder: Path) -> int:
    """Number of parameters, read from the headers of the safetensors files."""
    from math import prod

    from safetensors import safe_open

    total = 0
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, "numpy") as f:
            total += sum(prod(f.get_slice(name).get_shape()) for name in f.keys())
    return total
