"""TRL itself trains on these rewards as they are: plain reward functions, without our trainer or composition."""

import torch


def test_trls_own_trainer_takes_every_rule_reward(checkpoint, tmp_path, prompts):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from tasks.prompts.templates import render
    from tasks.rewards.accuracy import Accuracy, accuracy
    from tasks.rewards.cosine import Cosine
    from tasks.rewards.format import format
    from tasks.rewards.language import language
    from tasks.rewards.length import Length
    from tasks.rewards.overlong import Overlong
    from tasks.rewards.repetition import Repetition
    from tasks.rewards.tag_count import tag_count
    from tasks.training import checkpoints

    rewards = [
        accuracy, format, tag_count, language, Length(limit=8, over=8), Cosine(max_tokens=24), Overlong(max_tokens=24, buffer=8),
        Repetition(n=2),
    ]  # fmt: skip
    columns = ("domain", "gold", "language", "meta")
    rows = [{"prompt": render("bare", p["text"]), **{c: p[c] for c in columns}} for p in prompts[:8]]
    model, tokenizer = checkpoints.load(checkpoint)
    config = GRPOConfig(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=8, num_generations=4, max_completion_length=24,
        logging_steps=1, report_to="none", save_strategy="no", bf16=False, gradient_checkpointing=False, use_cpu=True, seed=0,
    )  # fmt: skip
    before = torch.cat([w.detach().flatten().clone() for w in model.parameters()])
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=rewards,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    log = next(entry for entry in trainer.state.log_history if "reward" in entry)
    assert {k.split("/")[1] for k in log if k.startswith("rewards/") and k.endswith("/mean")} == {
        r.name for r in rewards
    }
    assert all(log[f"rewards/{r.name}/mean"] == log[f"rewards/{r.name}/mean"] for r in rewards), "a mean is no number"
    assert not torch.equal(before, torch.cat([w.detach().flatten() for w in model.parameters()]))
    assert Accuracy().__name__ == "accuracy"
