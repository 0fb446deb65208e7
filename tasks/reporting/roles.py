"""Which checkpoint plays which part: read off the folder that holds it, so that a recipe may list any models."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

LABELS = {
    "base": "Base",
    "r1_zero": "R1-Zero",
    "dev1": "Dev1",
    "dev2": "Dev2",
    "dev3": "Dev3",
    "r1": "R1",
    "student_base": "{} base",
    "distill": "{} distilled",
    "student_rl": "{} by RL alone",
}


@dataclass(frozen=True)
class Role:
    model: str  # name in evaluate.models
    stage: str | None  # stage that made the checkpoint; None for a model of the user's own
    item: str | None  # which of the stage's students
    label: str


def role(model: str, checkpoint: str, student: str | None = None) -> Role:
    """`data/18_distill/qwen` is the item qwen of the stage distill; other folders belong to nobody's recipe.

    `student` is the student that `student_rl` trained, where that is known.
    """
    match = re.fullmatch(r"data/\d\d_([a-z0-9_]+)(?:/(.+))?", checkpoint.rstrip("/"))
    stage, item = (match[1], match[2]) if match else (None, None)
    if stage == "student_rl":
        item = student
    if stage not in LABELS:
        return Role(model, None, None, model)
    name = " ".join(
        word.capitalize() if word.islower() and i == 0 else word
        for i, word in enumerate((item or "student").split("-"))
    )
    return Role(model, stage, item, LABELS[stage].format(name))


def of_stage(roles: Iterable[Role], stage: str, item: str | None = None) -> Role | None:
    """The first model that the stage (and item) made."""
    return next((r for r in roles if r.stage == stage and (item is None or r.item == item)), None)
