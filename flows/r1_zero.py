"""R1-Zero (paper 2.2): GRPO on the base with rule rewards alone, no SFT, no neural reward.

A gate comes first: on a base whose chains of thought do not beat its direct guesses, RL collapses to guessing. Before
that come canaries: completions that cheat must not be rewarded (tasks/rewards/canaries.py).
Departure: the paper divides advantages by the group's standard deviation and adds a KL penalty; see the recipe.
"""

from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.prompts.stored import read_prompts
from tasks.rewards import canaries, gate, launched
from tasks.rewards.composition import compose
from tasks.rewards.registry import Rewards
from tasks.rewards.reinforcement import of_sources
from tasks.sampling.engine import open_engine
from tasks.settings import Settings
from tasks.training import grpo
from tasks.training.grpo_settings import GRPO
from tasks.training.settings import Gate


class Params(Settings):
    sources: list[str] = Field(min_length=1, description="sources of `prompts` to train on")
    gate: Gate
    rewards: Rewards = Field(description="reward -> weight, or its block; paper: accuracy and format, equal weight")
    grpo: GRPO


def train_from_base(p: Params, run: Run, base: str) -> dict:
    """RL alone on the checkpoint `base`; `student_rl` does the same with a student."""
    prompts = run.input("prompts")
    train, rewards = of_sources(read_prompts(prompts, "train"), p.sources), compose(p.rewards)
    silent = canaries.require(rewards, train, run.template)
    validation = of_sources(read_prompts(prompts, "validation"), p.sources)
    limit = p.grpo.max_tokens[0][1]
    with open_engine(p.gate.engine, run.input(base), run.work, run.threads) as engine:
        measured = gate.measure(engine, validation, p.gate, run.template, limit, p.grpo.temperature, run.seed)
    passed = gate.require(measured, p.gate)
    run.log(
        f"gate: chains of thought right in {passed['full_cot_accuracy']:.2f}, guesses in {passed['direct_accuracy']:.2f}"
    )
    rows = grpo.lay_out(p.grpo, train, [], run.seed)
    metrics, curve = launched.train(
        run.input(base), run.out, rows, p.grpo, rewards, p.rewards, run.template, run.seed, run.work,
        run.progress, run.threads, run.accelerate,
    )  # fmt: skip
    run.curve(curve)
    return metrics | {"gate": passed, "canaries": silent}


def body(p: Params, run: Run) -> dict:
    return train_from_base(p, run, "base")


if __name__ == "__main__":
    stage(body, Params)
