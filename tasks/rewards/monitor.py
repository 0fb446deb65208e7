"""What is watched during RL and not rewarded: language share of the CoT, and explicit re-checking ("aha")."""

from tasks.responses import RECHECK, parse, reasoning_language_share


def watched(reward):
    """The same reward function, which also logs monitor/language and monitor/recheck of each batch."""
    import functools

    @functools.wraps(reward)
    def function(prompts, completions, *, gold, language, log_metric=None, **columns):
        if log_metric:
            reasoning = [(t, lang) for t, lang, g in zip(completions, language, gold, strict=True) if g is not None]
            shares = [s for t, lang in reasoning if (s := reasoning_language_share(t, lang)) is not None]
            if shares:
                log_metric("monitor/language", sum(shares) / len(shares))
            if reasoning:
                rechecks = [bool(RECHECK.search(parse(t).think or "")) for t, _ in reasoning]
                log_metric("monitor/recheck", sum(rechecks) / len(rechecks))
        return reward(prompts, completions, gold=gold, language=language, log_metric=log_metric, **columns)

    return function
