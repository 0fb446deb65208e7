"""What must not change the trajectory: how a batch is cut into micro-batches, and where activations come from."""

import pytest
from safetensors.torch import load_file

from tasks.training.reward_model import RewardModelTraining, train_helpful, train_safe
from tasks.training.settings import SFT
from tasks.training.sft import fine_tune_checkpoint

PAIRS = [  # of different lengths, so that a mean of means would not be the mean
    (
        f"User: Compute {i} A+1\nAssistant: ",
        "<think> " + f"First A+1={i + 1}. " * (1 + i % 4) + f"</think><answer>{i + 1}</answer>",
    )
    for i in range(16)
]


def _sft(checkpoint, folder, **settings):
    p = SFT(epochs=2, batch_size=8, learning_rate=1e-3, warmup_steps=2, **settings)
    _, curve = fine_tune_checkpoint(checkpoint, folder / "out", PAIRS, p, 1, folder / "work")
    return [row["loss"] for row in curve], load_file(folder / "out/model.safetensors")


def _same(found, wanted, bound=1e-5):
    """Losses to 1e-5 of themselves; weights to a bound far below the learning rate."""
    assert found[0] == pytest.approx(wanted[0], rel=1e-5)
    assert max(float((found[1][k] - wanted[1][k]).abs().max()) for k in wanted[1]) < bound


@pytest.fixture(scope="module")
def whole(checkpoint, tmp_path_factory):
    return _sft(checkpoint, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "settings",
    [{"micro_batch": 1}, {"micro_batch": 2, "gradient_checkpointing": True}],
    ids=["1x8", "2x4-checkpointed"],
)
def test_sft_does_not_depend_on_how_its_batch_is_cut(checkpoint, tmp_path, whole, settings):
    _same(_sft(checkpoint, tmp_path, **settings), whole)


@pytest.mark.parametrize("kind", ["helpful", "safe"])
def test_reward_models_do_not_depend_on_how_their_batch_is_cut(checkpoint, tmp_path, kind):
    texts = [prompt + response for prompt, response in PAIRS]
    rows = [(t, t[:-9]) for t in texts] if kind == "helpful" else [(t, i % 3 > 0) for i, t in enumerate(texts)]
    train = {"helpful": train_helpful, "safe": train_safe}[kind]
    found = []
    for micro in (None, 1):
        folder = tmp_path / str(micro)
        p = RewardModelTraining(epochs=1, batch_size=8, micro_batch=micro, learning_rate=1e-3)
        log = train(checkpoint, folder / "out", rows, p, 1, folder / "work")
        found.append(([row["loss"] for row in log], load_file(folder / "out/model.safetensors")))
    _same(found[1], found[0])
    assert found[0][0][0] == pytest.approx(0.6931, abs=1e-3), "the head starts at zero: log 2"
