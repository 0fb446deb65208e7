"""Rewards by name: `accuracy` is the function `accuracy` of tasks/rewards/accuracy.py. A reward of your own is one file."""

import importlib
from collections.abc import Callable

RULES = ("accuracy", "format", "language")


def load(name: str) -> Callable:
    """The rule reward called `name`; a name that is no file here raises ValueError."""
    try:
        return getattr(importlib.import_module(f"tasks.rewards.{name}"), name)
    except (ModuleNotFoundError, AttributeError):
        raise ValueError(f"no reward {name!r}: expected a function `{name}` in tasks/rewards/{name}.py") from None
