"""The engine against transformers itself: same distribution, same log-probabilities, same ends."""

import os
from importlib.util import find_spec

import pytest
import torch

from tasks.sampling.decoding import _filter_top_p
from tasks.sampling.engine import EngineError, engine_settings, open_engine
from tasks.sampling.policy import load_policy
from tasks.sampling.transformers_engine import TransformersEngine, sample, sample_batch

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


@pytest.mark.parametrize("temperature, top_p", [(1.0, 1.0), (0.6, 1.0), (1.0, 0.7), (0.6, 0.95)])
def test_samples_follow_the_distribution(policy, temperature, top_p):
    """First tokens of 4,000 samples against the model's own probabilities: within 4.5 standard errors."""
    prompt = PROMPTS[0]
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([policy.tokenizer(prompt)["input_ids"]])).logits[0, -1]
    p = (logits / temperature).softmax(-1)
    order = p.argsort(descending=True)
    nucleus = order[: int((p[order].cumsum(0) < top_p).sum()) + 1]
    p = torch.zeros_like(p).scatter(0, nucleus, p[nucleus] / p[nucleus].sum())
    (group,) = sample(policy, [prompt], k=4000, temperature=temperature, top_p=top_p, max_tokens=1, seed=3)
    counts = torch.bincount(torch.tensor([s.ids[0] for s in group]), minlength=len(p)) / 4000
    assert counts[p == 0].sum() == 0, "nothing outside the nucleus"
    top = p.topk(10).indices
    deviation = (counts[top] - p[top]).abs() / (p[top] * (1 - p[top]) / 4000).sqrt().clamp(min=1e-6)
    assert deviation.max().item() < 4.5
    plain = logits.log_softmax(-1)
    assert max(abs(s.logprobs[0] - plain[s.ids[0]].item()) for s in group[:50]) < 1e-4, "whatever the settings, at T=1"


def test_top_p_keeps_the_smallest_set_that_holds_the_mass():
    kept = _filter_top_p(torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.97, 0.01, 0.01, 0.01]]), 0.7)
    assert kept.tolist() == [[0, 0.5, 0, 0.25], [pytest.approx(0.97), 0, 0, 0]]


def test_a_prompt_beyond_the_context_and_an_empty_one_are_refused(checkpoint):
    ask = {"k": 1, "temperature": 0.0, "top_p": 1.0, "seed": 0}
    with open_engine(engine_settings("transformers"), checkpoint) as engine:
        room = engine.context - len(engine.tokenizer(PROMPTS[1])["input_ids"])
        engine._fit(PROMPTS[1:2], room)
        with pytest.raises(EngineError, match=f"needs a context of {engine.context + 1}.*has {engine.context}"):
            engine.sample(PROMPTS[1:2], **ask, max_tokens=room + 1)
        with pytest.raises(EngineError, match="prompt 1 is empty"):
            engine.sample([PROMPTS[0], ""], **ask, max_tokens=4)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_whose_logits_are_no_numbers_gives_no_samples(checkpoint, temperature):
    broken = load_policy(checkpoint)
    with torch.no_grad():
        broken.model.get_output_embeddings().weight[7] = float("nan")
    with pytest.raises((EngineError, RuntimeError), match="no numbers|nan"):
        sample(broken, PROMPTS[:1], k=1, temperature=temperature, top_p=1.0, max_tokens=4, seed=0)


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


STATIC = {"name": "transformers", "static_cache": True}


COMPILING = pytest.mark.skipif(
    "R1_COMPILE" not in os.environ, reason="compiling takes a CPU minute; R1_COMPILE=1 runs it"
)


@pytest.mark.parametrize(
    "options",
    [pytest.param(STATIC, id="static-cache"), pytest.param(STATIC | {"compile": True}, id="compiled", marks=COMPILING)],
)
def test_a_static_cache_draws_the_same_samples(policy, options):
    """Rows end one by one, so the block of keys is halved on the way; tokens are the same and log-probabilities to 1e-4."""
    ask = {"k": 8, "temperature": 1.0, "top_p": 0.9, "max_tokens": 8 if "compile" in options else 40, "seed": 4}
    prompts = PROMPTS[:1] if "compile" in options else PROMPTS
    ours = sample(policy, prompts, **ask)
    theirs = TransformersEngine(policy, engine_settings(options)).sample(prompts, **ask)
    flat = [(a, b) for g, h in zip(ours, theirs, strict=True) for a, b in zip(g, h, strict=True)]
    assert [a.ids for a, _ in flat] == [b.ids for _, b in flat]
    assert max(abs(x - y) for a, b in flat for x, y in zip(a.logprobs, b.logprobs, strict=True)) < 1e-4


def test_compiling_needs_fixed_shapes():
    with pytest.raises(ValueError, match="compile needs static_cache: true"):
        engine_settings({"name": "transformers", "compile": True})


def test_an_option_that_changes_samples_is_in_their_settings_and_a_default_is_not(policy):
    assert TransformersEngine(policy).protocol == {}
    block = engine_settings({"name": "transformers", "batch_rows": 8})
    assert TransformersEngine(policy, block).protocol == {"transformers": {"batch_rows": 8}}


def test_a_stopped_engine_goes_on_with_the_batch_it_was_stopped_in(checkpoint, tmp_path, monkeypatch):
    """Stopped in its third batch of three: the next run samples that one alone, and ends with the same samples."""
    from tasks.sampling import transformers_engine as engine

    ask = {"k": 4, "temperature": 1.0, "top_p": 1.0, "max_tokens": 16, "seed": 7}
    block = engine_settings({"name": "transformers", "batch_rows": 4})
    with open_engine(block, checkpoint) as whole:
        expected = whole.sample(PROMPTS, **ask)
    sampled = []

    def stop(policy, batch, **how):
        if len(sampled) == 2:
            raise KeyboardInterrupt
        sampled.append(batch.places)
        return sample_batch(policy, batch, **how)

    with open_engine(block, checkpoint, tmp_path) as first, monkeypatch.context() as patch:
        patch.setattr(engine, "sample_batch", stop)
        with pytest.raises(KeyboardInterrupt):
            first.sample(PROMPTS, **ask)
    sampled.clear()
    with open_engine(block, checkpoint, tmp_path) as second, monkeypatch.context() as patch:
        patch.setattr(engine, "sample_batch", stop)
        assert second.sample(PROMPTS, **ask) == expected and len(sampled) == 1
        assert second.sample(PROMPTS, **ask) == expected and len(sampled) == 1


def test_vllm_that_is_not_there_is_said_at_once_with_what_to_do(checkpoint):
    if find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    with pytest.raises(Exception, match=r"pip install 'r1flow\[vllm\]'.*make vllm.*engine: transformers"):
        open_engine(engine_settings("vllm"), checkpoint)
