"""The engine against transformers itself: same distribution, same log-probabilities, same ends."""

import pytest
import torch

from tasks.sampling.decoding import _filter_top_p
from tasks.sampling.policy import load_policy
from tasks.sampling.transformers_engine import sample

PROMPTS = [
    "User: Compute 4 A+7 B+6 C-2\nAssistant: ",
    "User: Hello\nAssistant: ",
    "User: Compute 54 A-1 B+3 C-9\nAssistant: ",
]


@pytest.fixture(scope="module")
def policy(checkpoint):
    return load_policy(checkpoint)


def test_log_probabilities_equal_a_full_forward_pass(policy):
    groups = sample(policy, PROMPTS, k=40, temperature=1.0, top_p=1.0, max_tokens=24, seed=1)
    worst = 0.0
    for prompt, group in zip(PROMPTS, groups, strict=True):
        start = policy.tokenizer(prompt)["input_ids"]
        for s in group:
            ids = torch.tensor([start + s.ids])
            with torch.no_grad():
                logps = policy.model(input_ids=ids).logits[0].log_softmax(-1)
            full = logps[len(start) - 1 : -1].gather(-1, ids[0, len(start) :, None])[:, 0]
            worst = max(worst, (full - torch.tensor(s.logprobs)).abs().max().item())
    assert worst < 1e-4


def test_greedy_equals_generate(policy):
    groups = sample(policy, PROMPTS, k=1, temperature=0.0, top_p=1.0, max_tokens=16, seed=0)
    for prompt, (s,) in zip(PROMPTS, groups, strict=True):
        ids = torch.tensor([policy.tokenizer(prompt)["input_ids"]])
        with torch.no_grad():
            best = policy.model.generate(input_ids=ids, max_new_tokens=16, do_sample=False)[0, ids.shape[1] :].tolist()
        assert s.ids == best


def test_same_seed_same_samples_and_another_seed_others(policy):
    first, again, other = (
        sample(policy, PROMPTS, k=8, temperature=1.0, top_p=1.0, max_tokens=16, seed=seed) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_a_sample_ends_once_and_only_by_its_end_or_by_length(policy):
    end = policy.tokenizer.eos_token_id
    for group in sample(policy, PROMPTS, k=64, temperature=1.5, top_p=1.0, max_tokens=12, seed=2):
        assert len(group) == 64
        for s in group:
            assert end not in s.ids[:-1]
            assert (s.finish == "stop") == (s.ids[-1] == end)
            assert s.finish == "stop" or len(s.ids) == 12
            assert len(s.logprobs) == len(s.ids) and max(s.logprobs) <= 0


def test_samples_follow_the_distribution(policy):
    """First tokens of 4,000 samples against the model's own probabilities: within 4.5 standard errors."""
    prompt = PROMPTS[0]
    with torch.no_grad():
        p = policy.model(input_ids=torch.tensor([policy.tokenizer(prompt)["input_ids"]])).logits[0, -1].softmax(-1)
    (group,) = sample(policy, [prompt], k=4000, temperature=1.0, top_p=1.0, max_tokens=1, seed=3)
    counts = torch.bincount(torch.tensor([s.ids[0] for s in group]), minlength=len(p)) / 4000
    top = p.topk(10).indices
    deviation = (counts[top] - p[top]).abs() / (p[top] * (1 - p[top]) / 4000).sqrt()
    assert deviation.max().item() < 4.5


def test_top_p_keeps_the_smallest_set_that_holds_the_mass():
    kept = _filter_top_p(torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.97, 0.01, 0.01, 0.01]]), 0.7)
    assert kept.tolist() == [[0, 0.5, 0, 0.25], [pytest.approx(0.97), 0, 0, 0]]


def test_no_prompts_no_samples(policy):
    assert sample(policy, [], k=2, temperature=1.0, top_p=1.0, max_tokens=4, seed=0) == []


def test_the_strided_cache_gives_the_librarys_samples(policy, monkeypatch):
    from transformers import DynamicCache

    from tasks.sampling import decoding

    settings = {"k": 8, "temperature": 1.0, "top_p": 0.9, "max_tokens": 48, "seed": 4}
    ours = sample(policy, PROMPTS, **settings)
    monkeypatch.setattr(decoding, "_growing_cache", lambda model: DynamicCache())
    theirs = sample(policy, PROMPTS, **settings)
    assert [[s.ids for s in g] for g in ours] == [[s.ids for s in g] for g in theirs]


def test_batches_are_bounded_by_the_memory_of_their_keys_and_values(policy, monkeypatch):
    from tasks.sampling import transformers_engine as engine

    assert engine.batch_rows(policy.model, 100) == engine.ROWS
    monkeypatch.setattr(
        engine, "CACHE_BYTES", 2 * 2 * 32 * 100 * 4 * 7
    )  # 7 rows: 2 tensors, 2 layers, 32 wide, float32
    assert engine.batch_rows(policy.model, 100) == 7
    assert engine.batch_rows(policy.model, 10**6) == 1


def test_a_checkpoint_of_your_own_needs_no_manifest_and_a_damaged_one_is_noticed(checkpoint, tmp_path):
    import shutil

    from tasks.provenance.artifacts import ArtifactError

    mine = tmp_path / "mine"
    shutil.copytree(checkpoint, mine)
    (mine / "manifest.json").unlink()
    assert load_policy(mine).sha == load_policy(checkpoint).sha
    damaged = tmp_path / "damaged"
    shutil.copytree(checkpoint, damaged)
    weights = bytearray((damaged / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (damaged / "model.safetensors").write_bytes(weights)
    with pytest.raises(ArtifactError, match="damaged"):
        load_policy(damaged)
