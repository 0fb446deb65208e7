"""Dev2 (paper 2.3.2): reasoning RL from Dev1; the language-consistency reward is added directly to accuracy."""

from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.prompts.stored import read_prompts
from tasks.rewards import canaries, launched
from tasks.rewards.composition import compose
from tasks.rewards.registry import Rewards
from tasks.rewards.reinforcement import of_sources
from tasks.settings import Settings
from tasks.training import grpo
from tasks.training.grpo_settings import GRPO


class Params(Settings):
    sources: list[str] = Field(min_length=1, description="sources of `prompts` to train on")
    rewards: Rewards = Field(description="reward -> weight, or its block; paper: accuracy + format + language")
    grpo: GRPO


def body(p: Params, run: Run) -> dict:
    rows = of_sources(read_prompts(run.input("prompts"), "train"), p.sources)
    rewards = compose(p.rewards)
    silent = canaries.require(rewards, rows, run.template)
    metrics, curve = launched.train(
        run.input("dev1"), run.out, grpo.lay_out(p.grpo, rows, [], run.seed), p.grpo, rewards, p.rewards,
        run.template, run.seed, run.work, run.progress, run.threads, run.accelerate,
    )  # fmt: skip
    run.curve(curve)
    return metrics | {"canaries": silent}


if __name__ == "__main__":
    stage(body, Params)
