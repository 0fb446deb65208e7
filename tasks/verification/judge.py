"""The generative judge's side of verification: what it is asked, what its reply means, how far the rules agree.

Paper 2.3.3: a part of the candidates is judged by a model that sees the question, the ground truth and the prediction.
"""

from collections.abc import Callable

from tasks.evaluation.intervals import wilson
from tasks.verification.verdict import Verdict

Interval = Callable[[int, int], tuple[float, float]]


def judge_prompt(question: str, gold: str, prediction: str) -> str:
    """The question put to the judge, before any template. It is trained on exactly this wording (flows/judge.py)."""
    return f"{question} Gold {gold} Given {prediction}"


def parse_reply(text: str) -> str:
    """ "ok" or "wrong" where the reply is that word and nothing else, "unparsable" otherwise."""
    word = text.strip().rstrip(".").lower()
    return word if word in ("ok", "wrong") else "unparsable"


def judged(rule: Verdict, reply: str, judge: str) -> Verdict:
    """The final verdict where the judge (a checkpoint's hash) decides; the answer is still the rules' extraction."""
    return Verdict(parse_reply(reply), rule.extracted, rule.gold, "judge", f"reply {reply.strip()[:80]!r}", judge)


def agreement(judge: list[str], rule: list[str], interval: Interval = wilson) -> dict:
    """Agreement of two lists of statuses on the same answers: share, interval, and the judge's two kinds of error.

    Only ok counts as accepted: the judge and the rules agree where both accept or neither does. Rates are null where
    there is nothing they could be measured on.
    """
    if len(judge) != len(rule):
        raise ValueError(f"{len(judge)} judge statuses for {len(rule)} rule statuses")
    pairs = [(j == "ok", r == "ok") for j, r in zip(judge, rule)]
    same = sum(j == r for j, r in pairs)
    wrong, right = [j for j, r in pairs if not r], [j for j, r in pairs if r]
    return {
        "judged": len(pairs),
        "agreement": same / len(pairs) if pairs else None,
        "agreement_ci95": list(interval(same, len(pairs))) if pairs else None,
        "judge_false_accept": sum(wrong) / len(wrong) if wrong else None,
        "judge_false_reject": sum(not j for j in right) / len(right) if right else None,
    }
