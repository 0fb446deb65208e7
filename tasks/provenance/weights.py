"""Checkpoints by their weights, from manifests alone: the name that completions have for the model that made them."""

import hashlib
from pathlib import PurePosixPath


def weights(artifact: str, manifest: dict) -> dict[str, str]:
    """Folder of each checkpoint in this artifact -> sha256 of its weights, as `artifacts.weights_sha` gives it.

    A folder is the artifact's path, or of one inside it that path with its name. Several files of weights in one folder
    are the shards of one checkpoint. Empty where there are no weights.
    """
    shards: dict[str, list[str]] = {}
    for name, entry in manifest.get("files", {}).items():
        if name.endswith(".safetensors"):
            shards.setdefault(str(PurePosixPath(artifact, name).parent), []).append(entry["sha256"])
    return {folder: shas[0] if len(shas) == 1 else _joined(shas) for folder, shas in shards.items()}


def _joined(shas: list[str]) -> str:
    return hashlib.sha256("".join(sorted(shas)).encode()).hexdigest()
