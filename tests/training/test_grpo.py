"""GRPO: the order of prompts, what is told of a run, and resume = uninterrupted."""

import pytest

from tasks.rewards.reinforcement import named_rewards, reinforce
from tasks.training import grpo
from tasks.training.grpo_settings import GRPO

SMALL = {
    "steps": 4,
    "prompts_per_step": 4,
    "group_size": 4,
    "learning_rate": 1e-3,
    "max_tokens": [(0, 24)],
    "save_every": 2,
}


def general(n):
    return [
        {"id": f"g{i}", "text": f"Hello {i}", "gold": None, "domain": "greeting", "language": "en", "meta": "{}"}
        for i in range(n)
    ]


def test_general_prompts_come_only_in_the_last_steps(prompts):
    p = GRPO(**SMALL | {"steps": 6, "general_last_steps": 2, "general_share": 0.5})
    rows = grpo.lay_out(p, prompts, general(3), seed=1)
    assert len(rows) == 6 * 4
    assert [sum(r["gold"] is None for r in rows[4 * s : 4 * s + 4]) for s in range(6)] == [0, 0, 0, 0, 2, 2]


def test_every_prompt_is_seen_once_before_any_is_seen_twice(prompts):
    rows = grpo.lay_out(GRPO(**SMALL | {"steps": 12}), prompts, [], seed=1)
    ids = [r["id"] for r in rows]
    assert sorted(ids[:24]) == sorted(ids[24:]) == sorted(p["id"] for p in prompts)
    assert ids[:24] != ids[24:]


def test_no_prompts_is_an_error_that_names_sources():
    with pytest.raises(ValueError, match="sources"):
        grpo.lay_out(GRPO(**SMALL), [], [], seed=1)


def test_token_limit_follows_its_schedule():
    p = GRPO(**SMALL | {"max_tokens": [(0, 24), (3, 48)]})
    assert [grpo.token_limit(p, s) for s in (0, 2, 3, 9)] == [24, 24, 48, 48]


def brevity(prompts, completions, **columns):
    """A reward that every sample of an untrained model scores differently on."""
    return [-len(text) / 100 for text in completions]


def run(checkpoint, tmp_path, prompts, name, settings=SMALL, stop_after=None, rewards=None, told=None):
    p = GRPO(**settings)
    rows = grpo.lay_out(p, prompts, [], seed=1)

    def progress(step, total, unit, note, **more):
        if told is not None:
            told.append(more | {"where": (step, total, unit), "note": note})
        if stop_after is not None and step >= stop_after:
            raise KeyboardInterrupt

    rewards = rewards or named_rewards({"accuracy": 1.0, "format": 0.5, "language": 0.2})
    out, work = tmp_path / name, tmp_path / f"work_{name}"
    return reinforce(checkpoint, out, rows, p, rewards, "bare", 7, work, progress), out


@pytest.mark.parametrize("more", [{}, {"accumulate": True, "micro_batch": 4}], ids=["one backward", "accumulated"])
def test_a_resumed_run_ends_in_the_same_bits(checkpoint, tmp_path, prompts, more):
    rewards, settings, told = {"brevity": (brevity, 1.0)}, SMALL | more, []
    (_, curve), whole = run(checkpoint, tmp_path, prompts, "whole", settings, rewards=rewards)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, tmp_path, prompts, "cut", settings, stop_after=3, rewards=rewards)
    (_, resumed), cut = run(checkpoint, tmp_path, prompts, "cut", settings, rewards=rewards, told=told)
    assert [t["where"][0] for t in told] == [3, 4], "two steps of four were saved"
    assert [t["step"] for said in told for t in said["timings"]] == [1, 2, 3, 4], "those before the kill as well"
    assert whole.joinpath("model.safetensors").read_bytes() != checkpoint.joinpath("model.safetensors").read_bytes()
    assert [r["reward"] for r in resumed] == [r["reward"] for r in curve]
    assert (whole / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()


def test_log_has_every_column_of_the_curve(checkpoint, tmp_path, prompts):
    told = []
    (metrics, curve), _ = run(checkpoint, tmp_path, prompts, "columns", told=told)
    assert [r["step"] for r in curve] == [1, 2, 3, 4]
    for column in ("reward", "accuracy", "format", "length", "entropy", "grad_norm", "tokens"):
        assert all(r[column] is not None for r in curve), column
    assert metrics["steps"] == 4 and metrics["tokens"] == sum(r["tokens"] for r in curve)
    assert [t["where"] for t in told] == [(i, 4, "steps") for i in (1, 2, 3, 4)]
    assert told[-1]["tokens"] == metrics["tokens"] and told[-1]["note"].startswith(
        f"reward {curve[-1]['reward']:.3f}, "
    )
    assert [t["point"]["reward"] for t in told] == [r["reward"] for r in curve], "the curve as it grows"
    steps = [t for said in told for t in said["timings"]]
    assert [t["step"] for t in steps] == [1, 2, 3, 4]
    for t, row in zip(steps, curve, strict=True):
        assert t["rollout"] > 0 and t["reward"] > 0 and t["training"] > 0
        assert t["seconds"] == pytest.approx(t["rollout"] + t["reward"] + t["training"], abs=1e-3)
        assert t["tokens"] == pytest.approx(16 * row["length"], abs=0.5)


def test_rollouts_that_are_shown_are_the_best_and_the_worst_of_one_group(checkpoint, tmp_path, prompts):
    told = []
    run(checkpoint, tmp_path, prompts, "shown", SMALL | {"steps": 1}, rewards={"brevity": (brevity, 2.0)}, told=told)
    shown = told[-1]["rollouts"]
    assert 1 < len(shown) <= 4 and len({r["prompt"] for r in shown}) == 1
    assert [r["reward"] for r in shown] == sorted((r["reward"] for r in shown), reverse=True)
    for r in shown:
        assert r["reward"] == pytest.approx(2 * r["brevity"]) and r["brevity"] == pytest.approx(
            -len(r["completion"]) / 100
        )
    assert shown[0]["advantage"] > 0 > shown[-1]["advantage"]


def test_reference_is_replaced_every_n_steps_and_kl_is_logged(checkpoint, tmp_path, prompts):
    settings = SMALL | {"kl_beta": 0.01, "reference_every": 2, "warmup_steps": 0, "learning_rate": 5e-3}
    (_, curve), _ = run(checkpoint, tmp_path, prompts, "kl", settings, rewards={"brevity": (brevity, 1.0)})
    kl = [r["kl"] for r in curve]
    assert kl[0] == pytest.approx(0, abs=1e-6) and kl[1] > 1e-6
    assert kl[2] == pytest.approx(0, abs=1e-6) and kl[3] > 1e-6


def test_save_every_must_fit_the_rollouts(checkpoint, tmp_path, prompts):
    with pytest.raises(ValueError, match="save_every 3 is no multiple"):
        run(checkpoint, tmp_path, prompts, "bad", SMALL | {"rollout_batches": 2, "save_every": 3})


def test_mini_batches_of_one_rollout(checkpoint, tmp_path, prompts):
    """Two optimizer steps share a rollout, as the paper's 16 mini-batches do."""
    (_, curve), _ = run(checkpoint, tmp_path, prompts, "mini", SMALL | {"rollout_batches": 2})
    assert len(curve) == 4
    assert [r["tokens"] > 0 for r in curve] == [True, False, True, False]


def test_prompts_sampled_a_few_at_a_time_are_seeded_by_their_place(checkpoint, tmp_path, prompts):
    """Each place of a step has draws of its own, the same in every run; so any process may draw them."""
    settings = SMALL | {"steps": 1, "rollout_prompts": 2}
    same = [prompts[0]] * len(prompts)
    seen = []

    def kept(prompts, completions, **columns):
        seen.append(completions)
        return brevity(prompts, completions)

    kept.__name__ = "brevity"
    for name in ("first", "second"):
        run(checkpoint, tmp_path, same, name, settings, rewards={"brevity": (kept, 1.0)})
    assert seen[0] == seen[1]
    assert seen[0][:8] != seen[0][8:], "another place, other draws of the very same prompts"
