"""Settings of GRPO; apart from those of other training, which know nothing of engines that sample."""

from typing import Literal

from pydantic import Field, model_validator

from tasks.training.rollouts import RolloutEngine
from tasks.training.settings import OnDevice


class GRPO(OnDevice):
    """Group relative policy optimisation around TRL's GRPOTrainer (paper 2.2.1)."""

    steps: int = Field(ge=1, description="optimizer steps; paper: 10,400 for R1-Zero")
    prompts_per_step: int = Field(16, ge=1, description="paper: 32")
    group_size: int = Field(16, ge=2, description="G, outputs per prompt; paper: 16")
    rollout_batches: int = Field(1, ge=1, description="optimizer steps per rollout; paper: 16 mini-batches of 512")
    inner_epochs: int = Field(1, ge=1, description="paper: 1")
    learning_rate: float = Field(gt=0, description="peak; paper: 3e-6")
    final_lr_ratio: float = Field(0.2, ge=0, le=1, description="linear decay to this share; not published")
    warmup_steps: int = Field(5, ge=0, description="not published")
    adam_beta2: float = Field(0.99, gt=0, lt=1, description="not published")
    weight_decay: float = Field(0.0, ge=0, description="not published")
    max_grad_norm: float = Field(1.0, gt=0, description="not published")
    clip_epsilon: float = Field(
        0.2, gt=0, description="epsilon of the clipped ratio; paper: 10 for Dev2 and R1, not published for R1-Zero"
    )
    clip_epsilon_high: float | None = Field(None, gt=0, description="upper epsilon; null: symmetric")
    kl_beta: float = Field(0.0, ge=0, description="weight of the KL penalty to the reference model; paper: 0.001")
    reference_every: int | None = Field(
        None, ge=1, description="replace the reference by the policy every n steps; paper: 400"
    )
    loss: Literal["grpo", "dr_grpo", "dapo", "bnpo"] = Field(
        "dapo", description="TRL's loss_type; dapo is the token mean"
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "none", description="divide advantages by the std of; paper: group"
    )
    temperature: float = Field(1.0, gt=0, description="of the rollouts; paper: 1.0, R1: 0.7")
    top_p: float = Field(1.0, gt=0, le=1, description="of the rollouts; not published")
    max_tokens: list[tuple[int, int]] = Field(
        [(0, 112)], min_length=1, description="(from step, completion tokens); paper: 32,768, from step 8,200 65,536"
    )
    general_last_steps: int = Field(
        0, ge=0, description="general prompts and preference rewards only in the last n steps; paper: 400 of 1,700"
    )
    general_share: float = Field(0.0, ge=0, le=1, description="share of general prompts in those steps; not published")
    micro_batch: int = Field(64, ge=1, description="completions per forward pass")
    accumulate: bool = Field(
        False, description="a backward pass after each forward pass: memory of one micro_batch, not of a step"
    )
    rollout_prompts: int | None = Field(
        None,
        ge=1,
        description="prompts sampled at once, seeded by their place in the step, so that any number of processes draws the same; null: all of a process",
    )
    engine: RolloutEngine = Field(
        "transformers", description="who samples the rollouts: transformers or vllm, or a block with its options"
    )
    save_every: int = Field(25, ge=1, description="steps between resumable states")

    @model_validator(mode="after")
    def _schedule_starts_at_zero(self):
        starts = [s for s, _ in self.max_tokens]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("max_tokens must start at step 0 and rise")
        if None not in (self.general_last_steps, self.steps) and self.general_last_steps > self.steps:
            raise ValueError("general_last_steps is more than steps")
        if self.lora and self.reference_every and self.kl_beta:
            raise ValueError("lora keeps the start as its reference: leave out reference_every, or lora, or kl_beta")
        return self
