"""Checkpoints by their weights: as `weights_sha` names them, whole, in shards and in folders of an artifact."""

from tasks.provenance.artifacts import weights_sha, write_manifest
from tasks.provenance.weights import weights


def test_every_checkpoint_of_an_artifact_has_the_name_that_its_completions_have(tmp_path):
    for name in ("model-1.safetensors", "model-2.safetensors", "helpful/model.safetensors", "safe/model.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "config.json").write_text("{}")
    found = weights("data/16_models", write_manifest(tmp_path, stage="models"))
    (tmp_path / "manifest.json").unlink()
    wanted = {
        f"data/16_models{inside}": weights_sha(tmp_path / inside.lstrip("/")) for inside in ("", "/helpful", "/safe")
    }
    assert found == wanted
    assert weights("data/01_prompts", {"files": {}}) == {}
