"""Tag-count reward: partial credit for tags, a slope where the format reward is a step."""

from typing import ClassVar

from tasks.responses import TAGS
from tasks.rewards.format import OPEN_ENDED, verifiable
from tasks.rewards.reward import Reward, column


class TagCount(Reward):
    """Share of the asked tags that stand exactly once; order and place are the format reward's business.

    None on general prompts, which need no tags; code and instructions need the two think tags.
    """

    name: ClassVar[str] = "tag_count"

    def __call__(self, prompts, completions, *, domain=None, gold=None, **_) -> list[float | None]:
        texts = self.texts(prompts, completions)
        domains, golds = column(domain, len(texts)), column(gold, len(texts), "")
        rewards: list[float | None] = []
        for text, d, g in zip(texts, domains, golds, strict=True):
            tags = TAGS[:2] if d in OPEN_ENDED else TAGS
            once = sum(text.count(tag) == 1 for tag in tags)
            rewards.append(once / len(tags) if verifiable(d, g) else None)
        return rewards


tag_count = TagCount()
