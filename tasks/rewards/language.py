"""Language-consistency reward (paper 2.3.2): share of target-language words in the chain of thought, added directly."""

from tasks.responses import reasoning_language_share


def language(prompts, completions, *, language, gold, **_) -> list[float | None]:
    """Share in [0, 1]; 0 for a reasoning response without words in its chain of thought.

    None on general prompts that need no chain of thought and have none.
    """
    rewards: list[float | None] = []
    for text, target, g in zip(completions, language, gold, strict=True):
        share = reasoning_language_share(text, target)
        rewards.append(0.0 if share is None and g is not None else share)
    return rewards
