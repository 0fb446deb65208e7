"""The forecast: it follows from the recipe, agrees with a measured run as docs/plan.md says, and nothing is run for it."""

import json
import math
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from benchmarks import forecast as tables
from flows.cli.main import app
from flows.orchestration.dag import load_dag, stage_names
from flows.orchestration.forecast.plan import make_plan, recipe_values
from flows.orchestration.forecast.stages import STAGES
from flows.orchestration.forecast.wall import critical_path
from flows.orchestration.forecast.whatif import changes, forecast
from flows.orchestration.params import ParamsError
from tasks.reporting.forecast.devices import DEVICES, Assumptions
from tasks.reporting.forecast.memory import parts
from tasks.reporting.forecast.roofline import Generation, attended_length, generate_seconds, train_flops
from tasks.reporting.forecast.shapes import KNOWN

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ("cpu", "gpu", "node", "paper")


def plan(name: str, *what_if: str, gpus: int | None = None):
    return forecast(ROOT, ROOT / f"recipes/{name}.yaml", changes(list(what_if)), gpus=gpus)


@pytest.fixture(scope="module")
def plans():
    return {name: plan(name) for name in RECIPES}


def step(made, stage):
    return next(s for s in made.steps if s.stage == stage)


def called(*arguments: str):
    return CliRunner().invoke(app, ["plan", *arguments])


def test_every_stage_of_the_dag_is_planned_and_no_other(plans):
    assert list(STAGES) == stage_names(ROOT)
    dag = load_dag(ROOT, recipe_values(ROOT, ROOT / "recipes/cpu.yaml"))
    assert {s.stage for s in plans["cpu"].steps} == set(dag.nodes)


def test_tokens_and_flops_of_grpo_follow_from_the_recipe(plans):
    made = plans["gpu"]
    r1_zero = step(made, "r1_zero")
    prompt, caps = 0.15 * 1024, (2048, 4096)
    first, second = (prompt + 0.25 * cap for cap in caps)
    assert r1_zero.trained == pytest.approx(200 * 512 * (first + second)) and r1_zero.rows == 400 * 512
    expected = sum(
        train_flops(r1_zero.shape, 200 * 512 * (prompt + 0.25 * cap), attended_length(prompt, 0.25 * cap, cap))
        for cap in caps
    )
    assert r1_zero.flops("train") == pytest.approx(expected)
    with_reference = step(plan("gpu", "r1_zero.grpo.kl_beta=0.001"), "r1_zero")
    assert with_reference.flops("score") == pytest.approx(expected / 3) and not r1_zero.flops("score")
    twice = step(plan("gpu", "r1_zero.grpo.rollout_batches=5"), "r1_zero")
    assert twice.flops("score") == pytest.approx(expected / 3), (
        "a rollout used more than once is scored by the old policy"
    )
    assert plan("gpu", "r1_zero.grpo.rollout_batches=5").hours(twice) < made.hours(r1_zero), (
        "fewer waits for the longest"
    )


def test_tokens_of_sft_and_of_its_set_follow_from_the_recipe(plans):
    made = plans["cpu"]
    rows = 1600 * min(4 * 0.5, 2) + 800
    assert step(made, "sft_data").rows == step(made, "dev3").rows == rows
    assert step(made, "dev3").trained == pytest.approx(2 * rows * (0.15 * 160 + 0.25 * 128))
    more = plan("cpu", "dev3.sft.epochs=4")
    assert step(more, "dev3").trained == pytest.approx(2 * step(made, "dev3").trained)
    packed = step(plan("gpu", "dev3.sft.packing=bfd"), "dev3"), step(plans["gpu"], "dev3")
    assert plans["gpu"].seconds(packed[0], 1) < plans["gpu"].seconds(packed[1], 1)


@pytest.mark.parametrize("name", RECIPES)
def test_json_adds_up(plans, name):
    made = json.loads(json.dumps(plans[name].as_json()))
    stages = made["stages"]
    assert (
        made["gpu_hours"]["total"] == pytest.approx(sum(s["gpu_hours"] for s in stages))
        and made["gpu_hours"]["total"] > 0
    )
    assert (
        all(made["gpu_hours"][s["stage"]] == s["gpu_hours"] for s in stages)
        and len(made["gpu_hours"]) == len(stages) + 1
    )
    assert made["usd"] == pytest.approx(made["gpu_hours"]["total"] * made["price_per_hour"])
    assert made["wall_hours"] == pytest.approx(max(s["starts_hours"] + s["wall_hours"] for s in stages))
    assert made["disk_gb"] == pytest.approx(sum(made["disk"].values()))
    artifacts = sum(s["disk_gb"] for s in stages)
    assert (
        made["disk"]["artifacts_gb"] + made["disk"]["checkpoints_gb"]
        == pytest.approx(artifacts)
        == pytest.approx(made["disk"]["cache_gb"])
    )
    assert made["wall_hours"] * made["devices"] >= made["gpu_hours"]["total"] * (1 - 1e-9)
    assert all(
        sum(s["memory_gb"].values()) == pytest.approx(s["peak_memory_gb"]) for s in stages if s["peak_memory_gb"]
    )
    assert {"weights", "gradients", "optimizer", "activations"} <= set(
        next(s for s in stages if s["stage"] == "r1_zero")["memory_gb"]
    )
    assert {"weights", "kv_cache"} <= set(next(s for s in stages if s["stage"] == "candidates")["memory_gb"])
    assert made["assumptions"] and made["assumed"]["train_share"] > 0


@pytest.mark.parametrize("name", ["node", "paper"])
def test_more_gpus_shorten_the_wall_and_do_not_make_it_cheaper(plans, name):
    few, many = plan(name, gpus=plans[name].devices // 2), plans[name]
    assert many.wall_hours < few.wall_hours and many.total_hours >= 0.95 * few.total_hours
    chain = critical_path(many.tasks, many.upstream, many.devices)
    assert many.wall_hours * 3600 >= sum(many.tasks[s].seconds(many.tasks[s].most) for s in chain) * (1 - 1e-9)
    assert chain[-1] == "report" and "r1_zero" in chain


def test_one_process_uses_one_gpu_and_a_configuration_that_shards_all():
    alone, sharded = plan("gpu", gpus=8), plan("gpu", "accelerate=zero3", gpus=8)
    assert alone.placed["dev3"].devices == 1 and sharded.placed["dev3"].devices > 1
    assert alone.peak_gb(step(alone, "dev3")) > sharded.peak_gb(step(sharded, "dev3"))
    assert any("accelerate names no configuration" in note for note in alone.notes)
    assert plan("gpu", "execution=ray", gpus=8).placed["candidates"].devices == 1, "Ray does not spread vLLM"
    spread = plan("gpu", "execution=ray", "candidates.engine=transformers", gpus=8)
    assert spread.placed["candidates"].devices > 1 == alone.placed["candidates"].devices
    split = plan("gpu", "candidates.engine={name: vllm, tensor_parallel: 4}", gpus=8)
    assert split.placed["candidates"].devices == 4


def test_what_does_not_fit_is_said_with_what_would(plans):
    warned = plan("gpu", "r1_zero.grpo.micro_batch=128", "r1_zero.grpo.accumulate=true")
    said = next(w for w in warned.warnings() if w.startswith("r1_zero "))
    assert "of 80 GB usable" in said and "`accumulate: true`" in said
    rows = re.search(r"`micro_batch: (\d+)`", said)[1]
    fixed = plan("gpu", f"r1_zero.grpo.micro_batch={rows}", "r1_zero.grpo.accumulate=true")
    assert not [w for w in fixed.warnings() if w.startswith("r1_zero ")]
    for name in ("cpu", "gpu", "node"):
        assert not plans[name].warnings(), "these recipes fit the devices they are written for"
    whole = plan("gpu", "reward_models.micro_batch=null", "reward_models.gradient_checkpointing=false")
    assert any(w.startswith("reward_models ") for w in whole.warnings())
    greedy = plan("node", "r1_zero.grpo.engine={name: vllm, mode: colocate, gpu_memory_utilization: 0.9, sleep: true}")
    assert any(w.startswith("r1_zero ") for w in greedy.warnings()), (
        "the policy's states stay while the engine is awake"
    )
    adapters = plan("gpu", "dev3.sft.lora={rank: 16}")
    assert adapters.peak_gb(step(adapters, "dev3")) < plans["gpu"].peak_gb(step(plans["gpu"], "dev3"))


def test_the_simulator_answers_what_if(plans):
    node = plans["node"]
    samples = plan("node", "candidates.samples=32")
    assert step(samples, "candidates").rows == 4 * step(node, "candidates").rows
    assert samples.hours(step(samples, "candidates")) > 3 * node.hours(step(node, "candidates"))
    assert samples.hours(step(samples, "r1_zero")) == pytest.approx(node.hours(step(node, "r1_zero")))
    longer = plan("node", "r1_zero.grpo.max_tokens=[[0, 32768]]")
    assert longer.hours(step(longer, "r1_zero")) > 4 * node.hours(step(node, "r1_zero"))
    slower = plan("node", "assume.verify_seconds=2")
    assert slower.total_hours > 1.2 * node.total_hours
    assert plan("node", "gpus=64", "price=3").price == 3
    small = plan("node", "candidates.engine={name: vllm, gpu_memory_utilization: 0.3}")
    assert small.hours(step(small, "candidates")) > node.hours(step(node, "candidates")), (
        "a smaller cache has fewer slots"
    )
    assert plan("node", "device=a100-80gb").total_hours > 1.3 * node.total_hours


@pytest.mark.parametrize(
    "text, said",
    [
        ("candidates.sample=3", "did you mean `samples`"),
        ("candidates.samples=none of them", "candidates.samples"),
        ("canditates.samples=3", "no section `canditates`"),
        ("assume.train_shar=1", "did you mean `train_share`"),
        ("assume.train_share=3", "less than or equal to 1"),
        ("gpus=0", "expected a number of devices"),
        ("device=abacus", "one of cpu-core"),
        ("candidates.samples", "expected key=value"),
        ("nonsense=1", "no such value"),
        ("candidates.samples=", "nothing is `null`"),
        ("price=.inf", "expected dollars"),
        ("device=[h100-80gb]", "one of cpu-core"),
        ("recipe=paper", "use --recipe"),
        ("accelerate=nosuch", "recipes/accelerate/nosuch.yaml"),
        ("student_rl.student=nobody", "student_base.students.nobody"),
        ("evaluate.models={a: data/18_distill/nobody}", "student_base.students.nobody"),
    ],
)
def test_a_change_that_means_nothing_is_refused(text, said):
    with pytest.raises(ParamsError, match=said):
        plan("gpu", text)


def test_the_paper_is_compared_with_what_it_published(plans):
    made = plans["paper"].as_json()
    assert sum(p["gpu_hours"] for p in made["published"].values()) == 147_000
    ratios = {what: p["ratio"] for what, p in made["published"].items()}
    assert all(0.25 < r < 2 for r in ratios.values()), ratios
    total = sum(p["estimated"] for p in made["published"].values()) / 147_000
    assert 0.6 < total < 1.4
    assert any("dev2.grpo.steps is not published" in note for note in made["assumptions"])
    assert plans["cpu"].as_json()["published"] is None
    assert not [n for n in plans["cpu"].notes if "not published" in n], "nothing is assumed where the recipe says"


def test_the_forecast_of_cpu_is_as_close_to_the_measured_run_as_docs_plan_says(plans):
    books = tables.measured()
    rows = tables.errors(plans["cpu"], books)
    tested = sorted(abs(f / m - 1) for _, fitted, f, m in rows if not fitted)
    assert len(rows) == 35 and len(tested) == 27 and len(tables.FITTED) == 8
    assert tested[len(tested) // 2] < 0.25
    assert sum(f for *_, f, _ in rows) == pytest.approx(sum(m for *_, m in rows), rel=0.15)
    assert plans["cpu"].wall_hours * 3600 == pytest.approx(books["wall_seconds"], rel=0.2)
    held = sum(b["disk_bytes"] for b in books["stages"].values())
    assert plans["cpu"].disk.artifacts + plans["cpu"].disk.checkpoints == pytest.approx(held, rel=0.3)
    tokens = json.loads((ROOT / "metrics/dev3.json").read_text())["tokens"]
    assert step(plans["cpu"], "dev3").trained == pytest.approx(tokens, rel=0.3)


def test_docs_plan_has_the_tables_that_the_command_makes(plans):
    page = (ROOT / "docs/plan.md").read_text()
    made = {"recipes": tables.beside([plans[r] for r in RECIPES]), "measured": tables.against_measured()}
    assert tables.written(page, made) == page, "run `python benchmarks/forecast.py --write`"


def test_command_line(tmp_path):
    gpu = str(ROOT / "recipes/gpu.yaml")
    result = called("--recipe", gpu, "--json", "--price", "3", "--gpus", "4", "--what-if", "candidates.samples=8")
    assert result.exit_code == 0, result.output
    made = json.loads(result.output)
    assert made["recipe"] == "gpu" and made["devices"] == 4 and made["price_per_hour"] == 3
    assert made["what_if"]["changes"] == {"candidates.samples": 8}
    assert made["what_if"]["before"]["gpu_hours"]["total"] < made["gpu_hours"]["total"]
    page = tmp_path / "plan.html"
    shown = called("--recipe", gpu, "--html", str(page), "--what-if", "gpus=2").output
    assert "Assumptions:" in shown and "r1_zero" in shown and "cost: $" in shown and "what if gpus = 2" in shown
    text = page.read_text()
    pictures = [
        ElementTree.fromstring(p.split("</svg>")[0] + "</svg>") for p in ("<svg" + t for t in text.split("<svg")[1:])
    ]
    assert len(pictures) == 2 and "<script" not in text and "http://" not in text.replace("http://www.w3.org", "")
    titles = [t.text for t in pictures[0].iter("{http://www.w3.org/2000/svg}title")]
    assert any(t.startswith("r1_zero: sampling") for t in titles) and any(
        t.startswith("dev3: training") for t in titles
    )
    assert called("--device", "abacus").exit_code == 2
    assert called("--price", "inf").exit_code == called("--json", "--markdown").exit_code == 2
    assert called("--recipe", gpu, "--html", str(tmp_path)).exit_code == 1 and not list(tmp_path.parent.glob(".*.new"))


def test_attention_over_responses_that_differ_in_length():
    """Against a sum over sampled lengths: a long sequence has more tokens, and each of them attends to more."""
    draw = random.Random(0)
    mean, limit, prompt = 2000, 8000, 300
    low, high = 1.0, 1e6
    for _ in range(60):  # scale of the cut exponential with this mean
        middle = (low + high) / 2
        low, high = (middle, high) if middle * (1 - math.exp(-limit / middle)) < mean else (low, middle)
    lengths = [prompt + min(limit, draw.expovariate(1 / low)) for _ in range(100_000)]
    expected = sum(n * n for n in lengths) / sum(lengths)
    assert attended_length(prompt, mean, limit) == pytest.approx(expected, rel=0.02)
    assert attended_length(prompt, mean, limit) > 1.2 * (prompt + mean)
    assert attended_length(prompt, limit, limit) == prompt + limit


def test_a_rollout_waits_for_its_longest_response_and_reads_grouped_keys_once():
    device, a, qwen = DEVICES["h100-80gb"], Assumptions(decode_overhead=0), KNOWN["qwen2.5-7b"]
    assert qwen.cache == 2 * 28 * 4 * 128, "4 key-value heads of 28"
    one = generate_seconds(qwen, device, a, Generation(1, 1, 0, 7999, 8000), 1)
    weights = 8000 * qwen.total * 2 / (device.bandwidth * a.bandwidth_share)
    assert one == pytest.approx(weights, rel=0.05), "one sequence: the weights are read for each token"
    few, many = (generate_seconds(qwen, device, a, Generation(256, 16, 0, 2000, 8000), gpus) for gpus in (1, 64))
    assert few > many > 7000 * qwen.total * 2 / (device.bandwidth * a.bandwidth_share), "no GPUs shorten the longest"


def test_states_of_adam_are_sixteen_bytes_a_parameter_over_the_shards():
    step_ = step(plan("node"), "dev3")
    held = parts(step_.memory, DEVICES["h100-80gb"], Assumptions(), 8)
    shard = 16 * step_.shape.total / 8
    gathered = 2 * 2 * step_.shape.total / step_.shape.layers
    assert held["weights"] + held["gradients"] + held["optimizer"] == pytest.approx(shard + gathered)


def test_all_recipes_side_by_side():
    made = json.loads(called("--all", "--json").output)
    assert [p["recipe"] for p in made][:4] == list(RECIPES)
    lines = called("--all", "--markdown").output.splitlines()
    assert lines[0].startswith("| recipe | on |") and len(lines) == 2 + len(made)


def test_planning_imports_nothing_heavy():
    start = time.process_time()
    code = "import flows.cli.plan, sys; print([m for m in ('torch', 'transformers', 'prefect', 'dvc', 'trl') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert time.process_time() - start < 5


def test_the_default_devices_are_what_the_recipe_is_for():
    values = recipe_values(ROOT, ROOT / "recipes/node.yaml")
    assert make_plan(values, ROOT).devices == 8 and make_plan(values, ROOT, "h200-141gb", 3).devices == 3
