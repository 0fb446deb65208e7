"""Procedural judgements: a question, its ground truth and a prediction that is right or wrong, to train a judge on."""

import random
from dataclasses import dataclass
from itertools import islice

from tasks.prompts.running_sums import LIMIT, problems
from tasks.prompts.split import held_out


@dataclass(frozen=True)
class Judgement:
    question: str
    gold: str
    prediction: str
    right: bool


def _miss(gold: int, rng: random.Random) -> int:
    """A wrong prediction as models make them: near the truth, one slipped digit, or any other number."""
    near = gold + rng.choice((-10, -9, -2, -1, 1, 2, 9, 10))
    prediction = rng.choice((near, near, rng.randint(0, LIMIT)))
    return prediction if prediction >= 0 and prediction != gold else gold + 1


def pairs(seed: int, count: int) -> list[Judgement]:
    """`count` judgements on different questions, about half of them right; no question of the final split."""
    rng, out = random.Random(seed), []
    trained_on = (item for item in problems(seed, 2 * count) if not held_out(item.text))  # drawn as they are asked for
    for item in islice(trained_on, count):
        right = rng.random() < 0.5
        prediction = item.gold if right else str(_miss(int(item.gold), rng))
        out.append(Judgement(item.text, item.gold, prediction, right))
    return out
