"""Metrics of a checkpoint from its completions and their verdicts (paper §3).

Which verdict counts how: `ok` is right; `wrong`, `unparsable` and `timeout` are wrong (a response that cannot be
verified in time earned nothing); `infra` is no verdict: the sample is left out and counted, never scored 0.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.evaluation.intervals import ci95
from tasks.responses import RECHECK, parse, reasoning_language_share


@dataclass(frozen=True)
class Judged:
    """One sample and its verdict."""

    index: int
    text: str
    tokens: int | None  # None where a server counts none
    finish: str
    status: str
    extracted: str | None

    @property
    def correct(self) -> bool:
        return self.status == "ok"


def judged(samples: Sequence[Mapping], verdicts: Sequence[Mapping]) -> dict[str, list[Judged]]:
    """Samples with their verdicts by problem, in the order of `index`; each sample must have exactly one verdict."""
    by_completion = {v["completion_id"]: v for v in verdicts}
    if len(by_completion) != len(verdicts) or by_completion.keys() != {s["id"] for s in samples}:
        raise ValueError(f"{len(samples)} samples and {len(verdicts)} verdicts do not belong together one to one")
    problems: dict[str, list[Judged]] = {}
    for s in sorted(samples, key=lambda s: (s["prompt_id"], s["index"])):
        v = by_completion[s["id"]]
        row = Judged(s["index"], s["text"], s["tokens"], s["finish"], v["status"], v["extracted"])
        problems.setdefault(s["prompt_id"], []).append(row)
    return problems


def pass_at_1(problems: Mapping[str, Sequence[Judged]]) -> dict[str, float]:
    """Share of right samples per problem; problems whose samples all lack a verdict are left out."""
    scored = {p: [s.correct for s in rows if s.status != "infra"] for p, rows in problems.items()}
    return {p: sum(right) / len(right) for p, right in scored.items() if right}


def unbiased_pass_at_k(n: int, correct: int, k: int) -> float:
    """Chance that k of n samples, drawn without replacement, hold a right one: 1 − C(n−c, k) / C(n, k)."""
    if not 0 <= correct <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs 1 <= k <= n and 0 <= correct <= n; got n={n}, correct={correct}")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def pass_at_k(problems: Mapping[str, Sequence[Judged]], k: int) -> dict[str, float]:
    """Unbiased pass@k per problem; problems with fewer than k verdicts are left out."""
    counts = {p: [s.correct for s in rows if s.status != "infra"] for p, rows in problems.items()}
    return {p: unbiased_pass_at_k(len(c), sum(c), k) for p, c in counts.items() if len(c) >= k}


def majority(rows: Sequence[Judged]) -> Judged | None:
    """The sample whose extracted answer is the most frequent; None where no sample has an answer.

    Answers are compared as strings, spaces and case aside. Tie: the answer that was sampled first.
    """
    votes = [s for s in sorted(rows, key=lambda s: s.index) if s.status != "infra" and s.extracted is not None]
    if not votes:
        return None
    keys = ["".join(s.extracted.split()).lower() for s in votes]
    counts = Counter(keys)  # keeps the order of first appearance, and max() returns the first maximum
    return votes[keys.index(max(counts, key=counts.__getitem__))]


def cons_at_k(problems: Mapping[str, Sequence[Judged]]) -> dict[str, float]:
    """1 where the majority answer is right, else 0 (also where no sample has an answer), per problem."""
    chosen = {p: majority(rows) for p, rows in problems.items() if any(s.status != "infra" for s in rows)}
    return {p: float(s is not None and s.correct) for p, s in chosen.items()}


def chain_of_thought(text: str) -> str | None:
    """What stands between <think> and </think>, or to the end where it was never closed; None where none was opened."""
    head = text.partition("</think>")[0].lstrip()
    return head[len("<think>") :] if head.startswith("<think>") else None


def rechecks(text: str) -> bool:
    """Whether the chain of thought says that it goes back over its steps."""
    return RECHECK.search(chain_of_thought(text) or "") is not None


def mean(values: Sequence[float]) -> float | None:
    """Mean rounded to 6 digits; None of nothing."""
    return round(sum(values) / len(values), 6) if values else None


def _with_interval(name: str, values: Mapping[str, float], seed: int) -> dict:
    """`name` and `name_ci95` of per-problem values, both None where no problem is left."""
    scores = [values[p] for p in sorted(values)]
    return {name: mean(scores), f"{name}_ci95": ci95(scores, seed) if scores else None}


def summary(problems: Mapping[str, Sequence[Judged]], languages: Mapping[str, str], k: int, seed: int = 0) -> dict:
    """All metrics of one model; `languages` is the target language by prompt id.

    Language consistency is the mean, over the closed chains of thought that contain words, of the share of
    target-language words; chains without words say nothing about language and are left out (`cots_without_words`).
    A chain is mixed where that share is neither 0 nor 1.
    """
    texts = [(p, s) for p, rows in problems.items() for s in rows]
    cots = [(p, s) for p, s in texts if parse(s.text).think is not None]
    shares = [reasoning_language_share(s.text, languages[p]) for p, s in cots]
    worded = [x for x in shares if x is not None]
    opened = [s for _, s in texts if chain_of_thought(s.text) is not None]
    single = pass_at_1(problems)
    return {
        **_with_interval("pass_at_1", single, seed),
        **_with_interval("pass_at_k", pass_at_k(problems, k), seed),
        **_with_interval("cons_at_k", cons_at_k(problems), seed),
        "format_rate": mean([parse(s.text).well_formed for _, s in texts]),
        "language_consistency": mean(worded),
        "mixed_language_rate": mean([0 < x < 1 for x in worded]),
        "mean_length": mean([s.tokens for _, s in texts if s.tokens is not None]),
        "truncation_rate": mean([s.finish == "length" for _, s in texts]),
        "recheck_rate": mean([rechecks(s.text) for s in opened]),
        "cots_without_words": len(shares) - len(worded),
        "timeouts": sum(s.status == "timeout" for _, s in texts),
        "infra": sum(s.status == "infra" for _, s in texts),
        "problems_without_verdict": len(problems) - len(single),
        "per_problem_pass_at_1": None,  # recomputed from samples and verdicts wherever it is needed
    }
