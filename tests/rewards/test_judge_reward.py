"""The judge reward against a served judge that answers, and one that fails."""

import pytest

from tasks.rewards.accuracy import Accuracy
from tasks.rewards.composition import InfraError, compose
from tasks.rewards.judge import Judge, judge
from tasks.rewards.registry import Rewards
from tests.verification.served_judge import Server

RIGHT = "<think> the sea </think> <answer>blue</answer>"
TEXTS = [
    RIGHT,
    RIGHT.replace("blue", "red"),
    "blue",
    "<think> the sea <answer>blue</answer>",
    RIGHT + "<answer>blue</answer>",
]


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


def settings(server, **changes):
    return {"url": server.url, "model": "m", "backoff": 0.01, "timeout": 1, "attempts": 2} | changes


def columns(texts, **changes):
    count = len(texts)
    shared = {
        "prompts": ["What colour is the sea?"] * count,
        "completions": texts,
        "domain": ["open"] * count,
        "gold": ["blue"] * count,
    }
    return shared | changes


def test_only_a_well_formed_response_with_an_accepted_answer_is_right(server):
    reward = Judge(endpoint=settings(server))
    assert reward(**columns(TEXTS)) == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert Judge(endpoint=settings(server), wrong=-1)(**columns(TEXTS)) == [1.0, -1.0, -1.0, -1.0, -1.0]
    assert all(
        "the sea" not in asked["messages"][-1]["content"].replace("What colour is the sea?", "")
        for asked in server.asked
    )


def test_it_decides_its_domains_and_rules_decide_theirs(server):
    more = {"domain": ["open", "maths", "qa"], "gold": ["blue", "3", None], "meta": ["{}"] * 3}
    texts = [RIGHT, "<think> a </think> <answer>3</answer>", "Hello."]
    rewards = {"accuracy": {"domains": ["maths"]}, "judge": {"endpoint": settings(server), "domains": ["open"]}}
    values, faults = compose(Rewards.model_validate(rewards)).evaluate(**columns(texts, **more))
    assert values == {"accuracy": [None, 1.0, None], "judge": [1.0, None, None]} and not faults
    assert Accuracy(domains=["logic"])(**columns(texts, **more)) == [None] * 3


def test_a_judge_that_fails_gives_no_reward_and_stops_the_stage(server):
    rewards = {"judge": {"endpoint": settings(server)}, "format": 1.0}
    function, _ = compose(Rewards.model_validate(rewards)).functions()["judge"]
    with pytest.raises(
        InfraError, match=r"4 of the last 4 .*judge: .*HTTP 400: .*the context is too long.* \(4 times\)"
    ):
        function(**columns([RIGHT] * 4, gold=["blue [400]"] * 4))


def test_an_engine_of_ones_own():
    class Agreeable:
        name = "agreeable"

        def ask_all(self, conversations, progress=None):
            from tasks.verification.endpoint import Reply

            return [Reply("Reason: why not\nVerdict: correct") for _ in conversations]

    assert Judge.asking(Agreeable())(**columns(TEXTS)) == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_what_it_lacks_is_said():
    with pytest.raises(ValueError, match="give `endpoint"):
        judge(**columns([RIGHT]))
    with pytest.raises(ValueError, match="needs a column `gold`"):
        judge(prompts=["q"], completions=[RIGHT])
