"""The plan: parameters counted as transformers does, FLOPs and hours that follow from the recipe, nothing run."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from flows.orchestration.dag import stage_names
from flows.orchestration.params import read_yaml
from flows.orchestration.plan import STAGES, make_plan, recipe_values
from tasks.reporting.cost import DEVICES, Size, size_by_config, size_by_name

ROOT = Path(__file__).resolve().parents[3]


def plan(name: str, **changes):
    values = recipe_values(ROOT, ROOT / f"recipes/{name}.yaml")
    for key, value in changes.items():
        *path, last = key.split("__")
        section = values
        for part in path:
            section = section[part]
        section[last] = value
    return make_plan(values, ROOT)


def step(made, stage):
    return next(s for s in made.steps if s.stage == stage)


def test_every_stage_of_the_dag_is_planned_and_no_other():
    assert list(STAGES) == stage_names(ROOT)


@pytest.mark.parametrize(
    "name, total, active",
    [
        ("Qwen/Qwen2.5-1.5B", 1.5e9, 1.5e9),
        ("meta-llama/Llama-3.3-70B-Instruct", 70e9, 70e9),
        ("deepseek-ai/DeepSeek-V3-Base", 671e9, 37e9),
        ("HuggingFaceTB/SmolLM2-135M", 135e6, 135e6),
    ],
)
def test_size_by_name(name, total, active):
    assert size_by_name(name) == Size(total, active)


def test_a_name_without_size_is_not_guessed():
    assert size_by_name("openai/gpt2") is None and size_by_name("my-model-v2b3") is None


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_size_by_config_is_what_transformers_builds(architecture):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        architecture, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=100, vocab_size=300, tie_word_embeddings=architecture == "qwen2",
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert size_by_config(config.to_dict()).total == model.num_parameters()


def test_grpo_flops_follow_from_the_recipe():
    made = plan("gpu")
    r1_zero = step(made, "r1_zero")
    tokens = 400 * 32 * 16 * (0.15 * 1024 + 0.25 * (2048 + 4096) / 2)
    assert r1_zero.trained == pytest.approx(tokens)
    assert r1_zero.train_flops == pytest.approx(6 * 1.5e9 * tokens)
    assert r1_zero.sample_flops == pytest.approx(2 * 1.5e9 * tokens)
    assert step(plan("gpu", r1_zero__grpo__steps=800), "r1_zero").trained > 2 * tokens  # the later half is longer
    with_reference = step(plan("gpu", r1_zero__grpo__kl_beta=0.001), "r1_zero")
    assert with_reference.sample_flops == pytest.approx(2 * r1_zero.sample_flops)


def test_sft_doubles_with_epochs():
    values = read_yaml(ROOT / "recipes/cpu.yaml")
    epochs = values["dev3"]["sft"]["epochs"]
    once = step(plan("cpu", dev3__sft=values["dev3"]["sft"] | {"epochs": 2 * epochs}), "dev3")
    assert once.train_flops == pytest.approx(2 * step(plan("cpu"), "dev3").train_flops)


def test_the_paper_is_compared_with_what_it_published():
    made = plan("paper").as_json(price=2)
    hours = {what: p["gpu_hours"] for what, p in made["published"].items()}
    assert sum(hours.values()) == 147_000
    assert all(0.1 < p["ratio"] < 10 for p in made["published"].values()), made["published"]
    assert made["total"]["cost"] == pytest.approx(2 * made["total"]["device_hours"])
    assert any("dev2.grpo.steps is not published" in note for note in made["assumptions"])


def test_only_the_paper_is_compared():
    assert plan("cpu").as_json()["published"] is None


def test_no_assumption_is_made_where_the_recipe_says():
    assert not [n for n in plan("cpu").assumptions if "not published" in n]


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda d: d.name)
def test_a_device_counts_start_up_only_where_it_works(device):
    assert device.seconds(0, 0) == 0
    assert device.seconds(device.peak * device.train_share, 0) == pytest.approx(1 + device.start_up)


def test_command_line():
    result = CliRunner().invoke(app, ["plan", "--recipe", str(ROOT / "recipes/gpu.yaml"), "--json", "--price", "2"])
    assert result.exit_code == 0, result.output
    made = json.loads(result.output)
    assert made["recipe"] == "gpu" and {s["stage"] for s in made["stages"]} >= {"distill@llama", "evaluate@r1"}
    table = CliRunner().invoke(app, ["plan", "--recipe", str(ROOT / "recipes/gpu.yaml"), "--price", "2"]).output
    assert "Assumptions:" in table and "r1_zero" in table and "cost: $" in table
    assert CliRunner().invoke(app, ["plan", "--device", "abacus"]).exit_code == 2


def test_planning_imports_nothing_heavy():
    start = time.process_time()
    code = "import flows.cli.plan, sys; print([m for m in ('torch', 'transformers', 'prefect', 'dvc', 'trl') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert time.process_time() - start < 5
