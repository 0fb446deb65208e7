"""Language-consistency reward (paper 2.3.2): share of target-language words in the chain of thought, added directly.

Words are told apart by script (tasks/responses.py); maths, code and numbers are no words.
"""

from typing import ClassVar

from tasks.responses import reasoning_language_share
from tasks.rewards.format import verifiable
from tasks.rewards.reward import Reward, column


class Language(Reward):
    """Share in [0, 1]; 0 for a reasoning response without words in its chain of thought.

    None on general prompts that need no chain of thought and have none. Column `language`: the prompt's, `en` where
    there is none.
    """

    name: ClassVar[str] = "language"

    def __call__(self, prompts, completions, *, language=None, domain=None, gold=None, **_) -> list[float | None]:
        texts = self.texts(prompts, completions)
        domains, golds = column(domain, len(texts)), column(gold, len(texts), "")
        targets = column(language, len(texts), "en")
        rewards: list[float | None] = []
        for text, target, d, g in zip(texts, targets, domains, golds, strict=True):
            share = reasoning_language_share(text, target)
            rewards.append(0.0 if share is None and verifiable(d, g) else share)
        return rewards


language = Language()
