"""Rotary position embeddings for a context longer than the model's own: an entry of its config, checked."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.provenance.artifacts import ArtifactError
from tasks.training.settings import Rope

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def extend(config: "PreTrainedConfig", rope: Rope) -> None:
    """Write the RoPE of a longer context into the config; extended again, it counts from the model's first length."""
    now = config.rope_parameters or {}
    own = now.get("original_max_position_embeddings") or config.max_position_embeddings
    if rope.positions < own:
        raise ArtifactError(f"rope.positions {rope.positions} is fewer than the model's own {own}: leave `rope` out")
    entry = {"rope_type": rope.type, "rope_theta": rope.theta or now["rope_theta"]}
    if rope.type != "default":
        entry["factor"] = rope.positions / own
    if rope.type in ("yarn", "llama3"):
        entry["original_max_position_embeddings"] = own
    if rope.type == "llama3":
        entry |= {"low_freq_factor": rope.low_freq_factor, "high_freq_factor": rope.high_freq_factor}
    config.max_position_embeddings = rope.positions
    config.rope_parameters = entry
    config.standardize_rope_params()
    config.validate_rope()


def extend_checkpoint(folder: Path, rope: Rope) -> None:
    """The same for the config.json of a folder."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    extend(config, rope)
    config.save_pretrained(folder)
