"""Accuracy reward (paper 2.2.2): a rule decides whether the final answer is right."""

from tasks.responses import parse
from tasks.verification.verify import verify


def accuracy(prompts, completions, *, domain, gold, meta, **_) -> list[float | None]:
    """1 for a well-formed response whose verdict is ok, else 0; None where there is no verdict.

    No verdict: the prompt has no gold (a general prompt), or the verifier itself failed ("infra").
    """
    rewards: list[float | None] = []
    for text, d, g, m in zip(completions, domain, gold, meta, strict=True):
        if g is None:
            rewards.append(None)
            continue
        verdict = verify({"domain": d, "gold": g, "meta": m}, text)
        rewards.append(None if verdict.status == "infra" else float(verdict.status == "ok" and parse(text).well_formed))
    return rewards
