"""What RL elicited: how a model answers (styles), how well each way works, and what it does when forced.

Two of the ways can be forced by starting the response: an empty chain of thought makes it guess the answer
directly, an opened one makes it reason.
"""

from collections.abc import Callable, Mapping, Sequence

from tasks.evaluation.intervals import ci95
from tasks.evaluation.metrics import Judged, mean, pass_at_1

FORCED = {"direct": "<think> </think><answer>", "cot": "<think>"}  # how the response is made to begin
FULL_COT = ("cot", "check")  # styles that write every step; "check" goes back over them as well


def by_style(problems: Mapping[str, Sequence[Judged]], style: Callable[[str], str]) -> dict[str, dict]:
    """Share of the responses and accuracy per style, for every style that occurred; without samples lacking a verdict."""
    rows = [s for samples in problems.values() for s in samples if s.status != "infra"]
    named: dict[str, list[bool]] = {}
    for s in rows:
        named.setdefault(style(s.text), []).append(s.correct)
    return {n: {"share": round(len(named[n]) / len(rows), 6), "accuracy": mean(named[n])} for n in sorted(named)}


def free(problems: Mapping[str, Sequence[Judged]], style: Callable[[str], str] | None) -> dict:
    """Full chains of thought against direct guesses when the model chooses; None throughout without a classifier."""
    if style is None:
        keys = ("full_cot_share", "accuracy_given_full_cot", "direct_share", "accuracy_given_direct", "styles")
        return dict.fromkeys(keys)
    full = by_style(problems, lambda text: "full" if (name := style(text)) in FULL_COT else name)
    nothing = {"share": 0.0, "accuracy": None}
    return {
        "full_cot_share": full.get("full", nothing)["share"],
        "accuracy_given_full_cot": full.get("full", nothing)["accuracy"],
        "direct_share": full.get("direct", nothing)["share"],
        "accuracy_given_direct": full.get("direct", nothing)["accuracy"],
        "styles": by_style(problems, style),
    }


def forced(mode: str, problems: Mapping[str, Sequence[Judged]], seed: int = 0) -> dict:
    """pass@1 with its interval when the response was made to begin with FORCED[mode]."""
    single = pass_at_1(problems)
    scores = [single[p] for p in sorted(single)]
    return {f"forced_{mode}_pass_at_1": mean(scores), f"forced_{mode}_ci95": ci95(scores, seed) if scores else None}
