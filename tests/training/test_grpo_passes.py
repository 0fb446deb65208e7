"""GRPO's forward and backward passes: sorted, cut, in one piece or accumulated, the gradient is TRL's own."""

import functools
from pathlib import Path

import pytest
import torch

from tasks.prompts.templates import render
from tasks.training import checkpoints, grpo
from tasks.training.grpo_settings import GRPO
from tasks.training.packed_grpo import IDLE
from tasks.training.rollouts import own_rollout
from tasks.training.trainer import run

STEP = {
    "steps": 1,
    "prompts_per_step": 8,
    "group_size": 4,
    "learning_rate": 1e-3,
    "max_tokens": [(0, 24)],
    "save_every": 1,
}
WAYS = {
    "trl": {},
    "one backward": {"micro_batch": 5},
    "accumulated": {"micro_batch": 4, "accumulate": True},
}


def uneven(prompts, completions, **columns):
    """All of every second group alike, so that it has no advantage; the others by their length."""
    return [0.5 if (i // 4) % 2 else -len(text) / 100 for i, text in enumerate(completions)]


def level(prompts, completions, **columns):
    """No completion better than another."""
    return [0.5] * len(completions)


def step(checkpoint, folder, prompts, way, reward=uneven):
    """(gradient of one step, the log of it, forward passes with a graph, those without)."""
    from trl import GRPOTrainer

    model, tokenizer = checkpoints.load(checkpoint)
    p = GRPO(**STEP | {"warmup_steps": 0} | WAYS[way])
    data = grpo.dataset(grpo.lay_out(p, prompts, [], seed=1), functools.partial(render, "bare"))
    trainer = grpo.make_trainer(
        model, tokenizer, data, p, {reward.__name__: (reward, 1.0)}, own_rollout(model, tokenizer, p.engine), 7, folder,
        GRPOTrainer if way == "trl" else None,
    )  # fmt: skip
    gradient, graphs = {}, []
    for name, weight in model.named_parameters():
        weight.register_hook(lambda g, n=name: gradient.__setitem__(n, gradient.get(n, 0) + g.clone()))
    model.register_forward_hook(lambda module, args, out: graphs.append((module.training, torch.is_grad_enabled())))
    log = run(trainer, folder)
    trained = [graph for training, graph in graphs if training]
    return (
        torch.cat([gradient[n].flatten() for n in sorted(gradient)]),
        log[0],
        trained.count(True),
        trained.count(False),
    )


@pytest.fixture(scope="module")
def plain(checkpoint, tmp_path_factory):
    return step(checkpoint, tmp_path_factory.mktemp("plain"), sums(), "trl")


def sums():
    """The prompts of the fixture `prompts`, for fixtures that live longer."""
    from tasks.prompts.running_sums import problems

    facts = {"domain": "maths", "language": "en", "meta": "{}"}
    return [facts | {"id": f"prompt_{i.index}", "text": i.text, "gold": i.gold} for i in problems(3, 24)]


@pytest.mark.parametrize("way", ["one backward", "accumulated"])
def test_the_gradient_is_that_of_trl(checkpoint, tmp_path, plain, way):
    gradient, log, with_graph, without = step(checkpoint, tmp_path, sums(), way)
    assert plain[0].abs().max() > 0 and plain[2:] == (1, 0)
    torch.testing.assert_close(gradient, plain[0], rtol=1e-3, atol=1e-6)
    assert log["grad_norm"] == pytest.approx(plain[1]["grad_norm"], rel=1e-3)
    assert log["reward"] == plain[1]["reward"] and log["loss"] == pytest.approx(plain[1]["loss"], abs=1e-5)
    assert log[IDLE] == 0.5 and with_graph and without == 4, "16 of 32 completions need no backward pass"


def test_an_accumulated_step_without_any_advantage_has_a_gradient_of_zero(checkpoint, tmp_path):
    """As TRL's own: the optimizer takes its step, with momentum, and not only where there is a gradient."""
    gradient, log, with_graph, without = step(checkpoint, tmp_path, sums(), "accumulated", level)
    model, _ = checkpoints.load(checkpoint)
    assert len(gradient) == sum(w.numel() for w in model.parameters()) and not gradient.any()
    assert log[IDLE] == 1 and (with_graph, without) == (1, 7)


@pytest.mark.parametrize(
    ("changes", "processes", "told"),
    [
        ({"prompts_per_step": 3}, 2, "prompts_per_step 3 is no multiple of the 2 processes"),
        ({"accumulate": True, "micro_batch": 5}, 1, "micro_batch 5 to divide the 32 completions"),
    ],
)
def test_a_step_that_cannot_be_divided_is_an_error(changes, processes, told):
    with pytest.raises(ValueError, match=told):
        grpo.batch_shape(GRPO(**STEP | changes), processes)


def test_a_step_is_the_same_whatever_divides_it():
    for processes in (1, 2, 4):
        for accumulate in (False, True):
            p = GRPO(**STEP | {"accumulate": accumulate, "micro_batch": 4, "rollout_batches": 3})
            shape = grpo.batch_shape(p, processes)
            rows, passes = shape["per_device_train_batch_size"], shape["gradient_accumulation_steps"]
            assert rows * passes * processes == 32
            assert rows * shape["steps_per_generation"] * processes == 96, "a rollout is three steps"


@pytest.mark.parametrize("recipe", ["cpu", "gpu", "node", "paper"])
def test_the_recipes_divide_their_steps(recipe):
    """On one process and on a node of eight; what the paper leaves open may be anything."""
    from flows.orchestration.params import read_yaml

    values = read_yaml(Path(__file__).parents[2] / "recipes" / f"{recipe}.yaml")
    for stage in ("r1_zero", "dev2", "r1", "student_rl"):
        p = GRPO.model_validate(
            {k: v for k, v in values[stage]["grpo"].items() if v is not None}
            | {"steps": 8, "learning_rate": 1, "general_last_steps": 0}
        )
        for processes in (1, 4) if recipe == "cpu" else (1, 8):
            grpo.batch_shape(p, processes)
        grpo.check_cycle(p)
