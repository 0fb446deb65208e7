"""The benchmarks of GRPO: the test of equal curves can tell them apart, and both scripts run, at toy size."""

import json

import pytest

from benchmarks import gpu
from benchmarks import grpo as bench

SMALL = {"prompts_per_step": 2, "group_size": 4, "max_tokens": [[0, 16]], "learning_rate": 1e-3}


def curves(level, wobble):
    return [[level + wobble * ((7 * seed + 3 * t) % 5 - 2) for t in range(6)] for seed in range(4)]


def test_curves_of_one_kind_are_alike_and_of_two_kinds_are_not():
    mixed = curves(0.5, 0.01)
    same = bench.alike(mixed, mixed[::-1])
    assert same["p"] == 1 and not same["different"] and same["distance"] == pytest.approx(0)
    apart = bench.alike(mixed, curves(0.6, 0.01))
    assert apart["different"] and apart["p"] == apart["smallest_p"] == pytest.approx(1 / 35)
    assert apart["distance"] == pytest.approx(0.1, abs=0.01)
    assert apart["distance"] > apart["between_seeds"]


def test_same_start_counts_equal_rewards():
    assert bench.same_start([{"reward": r} for r in (1, 2, 3)], [{"reward": r} for r in (1, 2, 4)]) == 2


def test_grpo_beside_plain_trl(checkpoint, prompts, tmp_path):
    o = bench.options(["--steps", "2", "--seeds", "0", "1", "--idle-steps", "1", "--settings", json.dumps(SMALL)])
    result = bench.compare(checkpoint, prompts, o)
    assert {arm: sorted(runs) for arm, runs in result["runs"].items()} == {
        "trl": [0, 1],
        "trl + our rollout": [0],
        "ours": [0, 1],
    }
    for arm, cost in result["costs"].items():
        assert cost["cpu"] > 0 and cost["tokens_per_cpu_second"] > 0 and cost["speedup_cpu"] > 0, arm
    assert result["same_start"][0] >= 1, "the same policy, the same samples, the same reward"
    assert result["idle"][0]["skipped"] > 0 and result["idle"][0]["all_rows"] > 0
    said = bench.markdown(result)
    assert "| ours |" in said and "smallest possible 0.33" in said and json.dumps(result)
    bench.picture(result["runs"], tmp_path / "curves")
    assert (tmp_path / "curves.svg").read_text().count("mean of 2 seeds") == 2


def test_one_device_at_toy_size(tmp_path, capsys):
    assert gpu.main(["--shapes", "toy", "--steps", "3", "--no-compile", "--out", str(tmp_path / "gpu.json")]) == 0
    result = json.loads((tmp_path / "gpu.json").read_text())
    toy = result["shapes"]["toy"]
    assert result["device"] and result["matrix_flops"] > 1e8
    for part in ("sft", "grpo"):
        assert toy[part]["seconds_per_step"] > 0 and toy[part]["mfu"] > 0 and toy[part]["peak_bytes"] > 1e8
    rows, length, seconds = 4, 32, toy["sft"]["seconds_per_step"]
    flops = rows * length * (6 * toy["sft"]["parameters"] + 6 * 2 * 64 * length)  # 2 layers of 64
    assert toy["sft"]["mfu"] == pytest.approx(flops / seconds / result["matrix_flops"])
    assert toy["sampling"]["growing"] > 0 and toy["sampling"]["static"] > 0
    assert "| toy |" in capsys.readouterr().out
