"""What is watched during RL and not rewarded: language share of the CoT, and explicit re-checking ("aha")."""

from tasks.responses import RECHECK, parse, reasoning_language_share
from tasks.rewards.format import verifiable
from tasks.rewards.reward import column


def watched(reward):
    """The same reward function, which also logs monitor/language and monitor/recheck of each batch."""
    import functools

    @functools.wraps(reward)
    def function(prompts, completions, *, gold, language, domain=None, log_metric=None, **columns):
        if log_metric:
            asked = zip(completions, language, column(domain, len(completions)), gold, strict=True)
            reasoning = [(text, lang) for text, lang, d, g in asked if verifiable(d, g)]
            shares = [s for t, lang in reasoning if (s := reasoning_language_share(t, lang)) is not None]
            if shares:
                log_metric("monitor/language", sum(shares) / len(shares))
            if reasoning:
                rechecks = [bool(RECHECK.search(parse(t).think or "")) for t, _ in reasoning]
                log_metric("monitor/recheck", sum(rechecks) / len(rechecks))
        return reward(prompts, completions, gold=gold, domain=domain, language=language, log_metric=log_metric, **columns)

    return function
