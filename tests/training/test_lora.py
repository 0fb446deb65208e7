"""Adapters, RoPE and attention: what is trained, what is published, and what is refused with a remedy."""

import json

import pytest
import torch

from tasks.provenance.artifacts import ArtifactError
from tasks.rewards.reinforcement import reinforce
from tasks.training import checkpoints, grpo, trainable
from tasks.training.grpo_settings import GRPO
from tasks.training.reward_model import RewardModelTraining, Scorer, train_safe
from tasks.training.rope import extend
from tasks.training.settings import SFT, Model, Rope
from tasks.training.sft import fine_tune_checkpoint

PAIRS = [
    (f"User: Compute {i} A+1\nAssistant: ", f"<think> First A+1={i + 1}. </think><answer>{i + 1}</answer>")
    for i in range(16)
]
LORA = {"rank": 4, "alpha": 8.0}


def _logits(folder):
    model, tokenizer = checkpoints.load(folder)
    with torch.no_grad():
        return model(torch.tensor([tokenizer(PAIRS[0][0])["input_ids"]])).logits, model


def test_sft_with_adapters_publishes_a_plain_merged_checkpoint_and_resumes(checkpoint, tmp_path, capfd):
    p = SFT(epochs=6, batch_size=8, learning_rate=2e-2, warmup_steps=2, save_every=5, lora=LORA)

    class Killed(Exception):
        pass

    def progress(step, *_, **__):
        if step == 8:
            raise Killed

    metrics, curve = fine_tune_checkpoint(checkpoint, tmp_path / "whole", PAIRS, p, 1, tmp_path / "w1")
    assert metrics["loss_last"] < metrics["loss_first"] - 0.1
    said = capfd.readouterr().out
    assert "LoRA rank 4" in said and "attention sdpa" in said
    trained = int(said.partition(": ")[2].partition(" of ")[0].replace(",", ""))
    assert 0 < trained < checkpoints.parameters(checkpoint) / 2
    names = {f.name for f in (tmp_path / "whole").iterdir()}
    assert names == {f.name for f in checkpoint.iterdir()} - {"manifest.json"}, "a checkpoint like any other"
    merged, model = _logits(tmp_path / "whole")
    before, start = _logits(checkpoint)
    assert float((merged - before).abs().max()) > 1e-2
    changed = {
        n for (n, a), b in zip(start.named_parameters(), model.parameters(), strict=True) if not torch.equal(a, b)
    }
    assert changed and all("proj" in name for name in changed), "embeddings and norms are as they were"
    with pytest.raises(Killed):
        fine_tune_checkpoint(checkpoint, tmp_path / "cut", PAIRS, p, 1, tmp_path / "w2", progress)
    _, resumed = fine_tune_checkpoint(checkpoint, tmp_path / "cut", PAIRS, p, 1, tmp_path / "w2")
    assert resumed == curve
    weights = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_qlora_trains_over_four_bits_and_publishes_full_precision(checkpoint, tmp_path):
    pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes: pip install 'r1flow[lora]'")
    p = SFT(epochs=6, batch_size=8, learning_rate=2e-2, warmup_steps=2, lora=LORA | {"bits": 4})
    metrics, _ = fine_tune_checkpoint(checkpoint, tmp_path / "out", PAIRS, p, 1, tmp_path / "work")
    assert metrics["loss_last"] < metrics["loss_first"] - 0.1
    assert "quantization_config" not in json.loads((tmp_path / "out/config.json").read_text())
    merged, model = _logits(tmp_path / "out")
    before, start = _logits(checkpoint)
    assert model.dtype == torch.float32 and float((merged - before).abs().max()) > 1e-2
    same = {n for (n, a), b in zip(start.named_parameters(), model.parameters(), strict=True) if torch.equal(a, b)}
    assert any("embed" in name for name in same), "what has no adapter is not the four-bit copy"


def brevity(prompts, completions, **columns):
    return [-len(text) / 100 for text in completions]


def test_grpo_with_adapters_samples_from_the_adapted_policy_and_keeps_the_start_as_reference(
    checkpoint, tmp_path, prompts
):
    p = GRPO(
        steps=3, prompts_per_step=4, group_size=4, learning_rate=2e-2, warmup_steps=0, max_tokens=[(0, 24)], lora=LORA,
        kl_beta=0.01,
    )  # fmt: skip
    rows = grpo.lay_out(p, prompts, [], seed=1)
    _, curve = reinforce(
        checkpoint, tmp_path / "out", rows, p, {"brevity": (brevity, 1.0)}, "bare", 7, tmp_path / "work"
    )
    assert (
        curve[0]["kl"] == pytest.approx(0, abs=1e-6)
        and curve[1]["kl"] > 1e-6
        and all(r["grad_norm"] > 0 for r in curve)
    )
    assert float((_logits(tmp_path / "out")[0] - _logits(checkpoint)[0]).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="leave out reference_every"):
        GRPO(steps=2, learning_rate=1.0, lora=LORA, kl_beta=0.1, reference_every=1)


def test_a_reward_model_with_adapters_scores_as_it_was_trained_to(checkpoint, tmp_path):
    p = RewardModelTraining(epochs=12, batch_size=8, learning_rate=2e-2, lora=LORA)
    labels = [(f"{prompt}{'yes' if i % 2 else 'no'} <answer>", bool(i % 2)) for i, (prompt, _) in enumerate(PAIRS)]
    train_safe(checkpoint, tmp_path / "out", labels, p, 1, tmp_path / "work")
    scores = Scorer(tmp_path / "out")([text for text, _ in labels])
    assert sum((s > 0) == safe for s, (_, safe) in zip(scores, labels, strict=True)) >= 15


def test_without_peft_the_extra_is_named(checkpoint, monkeypatch):
    import builtins

    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "peft":
            raise ModuleNotFoundError("No module named 'peft'", name="peft")
        return real(name, *args, **kwargs)

    model, _ = checkpoints.load(checkpoint)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ArtifactError, match=r"lora needs peft: pip install 'r1flow\[lora\]'"):
        trainable.adapt(model, SFT(learning_rate=1.0, lora=LORA), 1)


def test_a_longer_context_becomes_part_of_the_published_config(checkpoint, tmp_path):
    """The checkpoint has 512 positions; YaRN stretches low frequencies by the factor and leaves high ones."""
    p = SFT(epochs=1, batch_size=8, learning_rate=1e-5, max_length=2048, rope={"type": "yarn", "positions": 2048})
    fine_tune_checkpoint(checkpoint, tmp_path / "out", PAIRS, p, 1, tmp_path / "work")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["max_position_embeddings"] == 2048
    entry = config["rope_parameters"]
    assert (entry["rope_type"], entry["factor"], entry["original_max_position_embeddings"]) == ("yarn", 4.0, 512)
    (_, long), (_, short) = _logits(tmp_path / "out"), _logits(checkpoint)
    ratio = short.model.rotary_emb.inv_freq / long.model.rotary_emb.inv_freq
    assert ratio[0] == pytest.approx(1.0) and 1.0 < float(ratio.max()) <= 4.0 + 1e-4
    again = trainable.options(tmp_path / "out", p, 2048)["config"]
    assert again.rope_parameters["factor"] == 4.0, "said again, it is not stretched again"


def test_a_base_from_elsewhere_may_be_given_a_longer_context(checkpoint, tmp_path):
    rope = {"type": "default", "theta": 300_000.0, "positions": 4096}
    checkpoints.fetch(Model(path=str(checkpoint), rope=rope), tmp_path / "base")
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (checkpoint, tmp_path / "base"))
    differing = {key for key in before | after if before.get(key) != after.get(key)}
    assert differing == {"max_position_embeddings", "rope_parameters"}
    assert trainable.options(tmp_path / "base", SFT(learning_rate=1.0), 4096) == {}
    with pytest.raises(ValueError, match="rope extends a model that there is"):
        Model(pretrain={}, rope=rope)


@pytest.mark.parametrize(
    "rope", [{"type": "default", "theta": 300_000.0}, {"type": "linear"}, {"type": "llama3"}], ids=lambda r: r["type"]
)
def test_ropes_are_what_transformers_makes_of_them(checkpoint, rope):
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = AutoConfig.from_pretrained(checkpoint)
    dim, before = config.hidden_size // config.num_attention_heads, config.rope_parameters["rope_theta"]
    extend(config, Rope(positions=4096, **rope))
    assert config.max_position_embeddings == 4096
    if rope["type"] == "default":
        assert config.rope_parameters["rope_theta"] == 300_000.0 != before and "factor" not in config.rope_parameters
        return
    found, _ = ROPE_INIT_FUNCTIONS[rope["type"]](config, torch.device("cpu"))
    plain = 1.0 / before ** (torch.arange(0, dim, 2, dtype=torch.float) / dim)
    assert float((plain / found).max()) == pytest.approx(8.0, rel=1e-4), "4,096 over 512 positions"


def test_sequences_longer_than_the_model_are_refused_with_the_remedy(checkpoint):
    with pytest.raises(
        ArtifactError, match=r"2048 tokens are longer than the 512 positions.*rope: \{type: default, theta: 300000"
    ):
        trainable.options(checkpoint, SFT(learning_rate=1.0), 2048)
    with pytest.raises(ArtifactError, match="256 is fewer than the model's own 512"):
        trainable.options(checkpoint, SFT(learning_rate=1.0, rope={"type": "linear", "positions": 256}), 64)


def test_attention_is_flash_only_where_it_can_run(checkpoint, monkeypatch):
    def options(attention, bf16=True):
        return trainable.options(checkpoint, SFT(learning_rate=1.0, attention=attention, bf16=bf16), 64)

    def refused(match, **more):
        with pytest.raises(
            ArtifactError, match=f"attention: flash_attention_2 cannot run: {match}.*or say `attention: auto`"
        ):
            options("flash_attention_2", **more)

    assert options("auto") == {} and options("eager") == {"attn_implementation": "eager"}
    refused("there is no GPU here")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: False)
    refused("the package is missing, pip install flash-attn")
    assert options("auto") == {}
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: True)
    refused("it computes in 16 bits alone, set bf16: true", bf16=False)
    assert options("auto", bf16=False) == {}
    assert options("auto") == options("flash_attention_2") == {"attn_implementation": "flash_attention_2"}
