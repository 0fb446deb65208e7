"""Who samples GRPO's rollouts: TRL's vLLM modes with their options, and ours in smaller batches or with a fixed cache."""

import importlib.util

import pytest
from pydantic import ValidationError

from tasks.sampling.engine import EngineError, TransformersSettings
from tasks.training import checkpoints, grpo
from tasks.training.grpo_settings import GRPO
from tasks.training.rollouts import own_rollout

SETTINGS = {
    "steps": 1,
    "learning_rate": 1e-3,
    "prompts_per_step": 4,
    "group_size": 4,
    "save_every": 1,
    "max_tokens": [[0, 16], [8, 32]],
}


def config(tmp_path, engine):
    return grpo.make_config(GRPO(**SETTINGS, engine=engine), [1.0], 0, tmp_path)


def test_colocated_vllm_gets_all_its_options(tmp_path):
    block = {
        "name": "vllm", "gpu_memory_utilization": 0.4, "tensor_parallel": 2, "max_model_len": 4096, "sleep": True,
        "importance_correction": "token_truncate", "importance_max": 2.0,
    }  # fmt: skip
    made = config(tmp_path, block)
    assert (made.use_vllm, made.vllm_mode, made.max_completion_length) == (True, "colocate", 32)
    assert (made.vllm_gpu_memory_utilization, made.vllm_tensor_parallel_size) == (0.4, 2)
    assert (made.vllm_max_model_length, made.vllm_enable_sleep_mode) == (4096, True)
    assert made.vllm_importance_sampling_correction
    assert (made.vllm_importance_sampling_mode, made.vllm_importance_sampling_clip_max) == ("token_truncate", 2.0)


def test_a_vllm_server_gets_all_its_options(tmp_path):
    block = {"name": "vllm", "mode": "server", "url": "http://10.0.0.2:8000", "group_port": 5000, "timeout": 60}
    made = config(tmp_path, block | {"importance_correction": None})
    assert (made.use_vllm, made.vllm_mode) == (True, "server")
    assert (made.vllm_server_base_url, made.vllm_group_port, made.vllm_server_timeout) == (
        "http://10.0.0.2:8000",
        5000,
        60,
    )
    assert not made.vllm_importance_sampling_correction


def test_names_stand_for_defaults(tmp_path):
    assert not config(tmp_path, "transformers").use_vllm
    assert config(tmp_path, "vllm").vllm_gpu_memory_utilization == 0.3, "TRL's"


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ("sglang", "expected transformers or vllm"),
        ({"name": "vllm", "mode": "server"}, "needs `url`"),
        ({"name": "vllm", "url": "http://x:1"}, "url: no option of mode colocate"),
        ({"name": "vllm", "mode": "server", "url": "http://x:1", "sleep": True}, "sleep: no option of mode server"),
        ({"name": "vllm", "memory": 0.3}, "memory"),
    ],
)
def test_a_wrong_engine_is_refused_with_its_key(engine, told):
    with pytest.raises(ValidationError, match=told):
        GRPO(**SETTINGS, engine=engine)


def test_vllm_where_it_is_not_installed_says_what_to_do(checkpoint, tmp_path, prompts):
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed here; tests/vllm_server runs it")
    model, tokenizer = checkpoints.load(checkpoint)
    p = GRPO(**SETTINGS, engine="vllm")
    with pytest.raises(EngineError, match=r"not installed here: pip install 'r1flow\[vllm\]'"):
        grpo.optimise(model, tokenizer, prompts[:4], p, {}, str, None, 0, tmp_path)


def test_our_engine_samples_as_many_at_once_as_it_may(checkpoint):
    model, tokenizer = checkpoints.load(checkpoint)
    asked = tokenizer(["Compute 54 A-1 B+3 C-9\n", "Compute 5 A+1 B+3 C-9\n"], add_special_tokens=False)["input_ids"]

    def draw(**settings):
        return own_rollout(model, tokenizer, TransformersSettings(**settings))(model, asked, 3, 1.0, 1.0, 12, 5)

    ids, logprobs = draw()
    assert draw(batch_rows=6) == (ids, logprobs), "one batch is seeded as it always was"
    apart = draw(batch_rows=3)[0]
    assert apart != ids and len(apart) == len(ids) == 6 and [len(x) for x in logprobs] == [len(x) for x in ids]
    assert draw(static_cache=True)[0] == ids
