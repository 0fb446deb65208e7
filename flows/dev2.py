"""Dev2 (paper 2.3.2): reasoning RL from Dev1; the language-consistency reward is added directly to accuracy."""

from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.prompts.stored import read_prompts
from tasks.rewards.reinforcement import named_rewards, of_sources, reinforce
from tasks.settings import Settings
from tasks.training import grpo
from tasks.training.settings import GRPO


class Params(Settings):
    sources: list[str] = Field(min_length=1, description="sources of `prompts` to train on")
    rewards: dict[str, float] = Field(description="reward -> weight; paper: accuracy + format + language")
    grpo: GRPO


def body(p: Params, run: Run) -> dict:
    rows = of_sources(read_prompts(run.input("prompts"), "train"), p.sources)
    metrics, curve = reinforce(
        run.input("dev1"), run.out, grpo.lay_out(p.grpo, rows, [], run.seed), p.grpo, named_rewards(p.rewards),
        run.template, run.seed, run.work, run.progress, run.threads,
    )  # fmt: skip
    run.curve(curve)
    return metrics


if __name__ == "__main__":
    stage(body, Params)
