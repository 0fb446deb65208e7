"""Rows as verl trains on them (DeepScaleR, DAPO-Math, ORZ, DSR-sub …): chat messages and a rule's ground truth.

The prompt is the last message of the user, without the fixed sentence that asks for a box: our templates ask for the
form of the answer, and the sentence would make unlike problems look alike to near-duplicate search.
"""

import re

from tasks.prompts.formats.found import BadRow, Found, parsed

DOMAIN = "maths"
COLUMNS = ("prompt", "reward_model")

_ASKS_FOR_A_BOX = re.compile(
    r"\s*(?:Let's think step by step and output the final answer within \\boxed\{\}"
    r"|Please reason step by step, and put your final answer within \\boxed\{\})\.?\s*$"
)


def convert(row: dict) -> Found:
    asked = [message["content"] for message in parsed(row["prompt"]) if message.get("role") == "user"]
    if not asked:
        raise BadRow("no message of the user")
    gold = parsed(row["reward_model"])["ground_truth"]
    if isinstance(gold, list) and len(gold) == 1:
        gold = gold[0]
    if gold is not None and not isinstance(gold, (str, int, float)):
        raise BadRow(f"reward_model.ground_truth is a {type(gold).__name__}, not one answer")
    return Found(_ASKS_FOR_A_BOX.sub("", asked[-1]), None if gold is None else str(gold))
