"""R1 (paper 2.3.4): RL for all scenarios from Dev3.

Rule rewards on reasoning prompts; preference rewards on general prompts, helpfulness from the final summary alone,
harmlessness from the whole response. General prompts come only in the last steps: more of them led to reward
hacking (N, Methods).
"""

from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.prompts.stored import read_prompts
from tasks.rewards import canaries, launched
from tasks.rewards.format import verifiable
from tasks.rewards.registry import Rewards
from tasks.rewards.reinforcement import of_sources
from tasks.settings import Settings
from tasks.training import grpo
from tasks.training.grpo_settings import GRPO


class Params(Settings):
    sources: list[str] = Field(min_length=1, description="sources of `prompts` with reasoning prompts")
    general_sources: list[str] = Field(description="sources of `prompts` with general prompts")
    rewards: Rewards = Field(description="rule reward -> weight, or its block")
    preference_weight: float = Field(ge=0, description="weight of the reward models on general prompts; paper: 1")
    grpo: GRPO


def body(p: Params, run: Run) -> dict:
    rows = read_prompts(run.input("prompts"), "train")
    general = [r for r in of_sources(rows, p.general_sources) if not verifiable(r["domain"], r["gold"])]
    reasoning = of_sources(rows, p.sources)
    order = grpo.lay_out(p.grpo, reasoning, general, run.seed)
    preference = (run.input("reward_models"), p.preference_weight)
    rewards = launched.composed(p.rewards, preference)
    silent = canaries.require(rewards, reasoning + general, run.template)
    metrics, curve = launched.train(
        run.input("dev3"), run.out, order, p.grpo, rewards, p.rewards, run.template, run.seed, run.work,
        run.progress, run.threads, run.accelerate, preference,
    )  # fmt: skip
    run.curve(curve)
    scores = [row["general_reward"] for row in curve if row["general_reward"] is not None]
    metrics |= {"general_steps": len(scores), "general_reward_last": scores[-1] if scores else None}
    return metrics | {"canaries": silent}


if __name__ == "__main__":
    stage(body, Params)
