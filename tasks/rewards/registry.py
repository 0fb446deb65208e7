"""Rule rewards by name. A reward of your own is one file here and one import below: params.yaml can then name it."""

from collections.abc import Callable

from tasks.rewards.accuracy import accuracy
from tasks.rewards.format import format
from tasks.rewards.language import language

REWARDS = {function.__name__: function for function in (accuracy, format, language)}


def load(name: str) -> Callable:
    """The rule reward called `name`; an unknown name raises ValueError."""
    if name not in REWARDS:
        raise ValueError(f"no reward {name!r}; known: {', '.join(REWARDS)}. Your own: one file in tasks/rewards/, imported in registry.py")
    return REWARDS[name]
