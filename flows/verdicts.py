"""Verdicts on the candidates: rules for all of them, the generative judge for a share of the prompts (paper 2.3.3).

The judge sees the question, the ground truth and the prediction. Where it decides, its verdict is the final one and
the rule verdict stands beside it in agreement.parquet, so that the report can say how far the two agree. An answer
that the rules cannot find in the response is not put to the judge: it stays unparsable.

The judge is the checkpoint of the stage `judge`, or a model behind an OpenAI-compatible endpoint (`endpoint`). Either
decides only after it has passed the exam of held-out pairs. The replies of an endpoint are kept in work/endpoint/, so
that no question is paid for twice, in this run or a later one. A judge that fails is no verdict (infra).
"""

from collections import Counter

import pyarrow as pa
from pydantic import Field

from flows.orchestration.stage import Run, StageError, stage
from tasks.prompts.stored import prompts_of_candidates
from tasks.provenance.artifacts import read_rows, write_rows
from tasks.rewards.format import verifiable
from tasks.rows import COMPLETION, STATUSES, VERDICT
from tasks.settings import Settings
from tasks.verification.endpoint import EndpointSettings
from tasks.verification.judge import agreement
from tasks.verification.judges import NOBODY, Judge, checkpoint_judge, decides, served_judge
from tasks.verification.spread import verify_on
from tasks.verification.verdict import Verdict
from tasks.verification.verify import DOMAINS

AGREEMENT = pa.schema(
    [
        ("completion_id", pa.string()),
        ("prompt_id", pa.string()),
        ("judge", pa.string()),  # its status
        ("rule", pa.string()),  # the rules' status on the same answer
        ("method", pa.string()),  # of the rule verdict
        ("detail", pa.string()),  # what the judge replied
    ]
)


class Params(Settings):
    """Section `verdicts` of params.yaml."""

    judge: str = Field(description="artifact of the judge; with judge_share 0, any: data/01_prompts trains none")
    judge_share: float | None = Field(
        ge=0, le=1, description="share of the prompts the judge decides; the paper says a part; 0: no judge"
    )
    min_judge_accuracy: float = Field(
        0.8,
        ge=0,
        le=1,
        description="on the judge's held-out pairs; one below it decides nothing, and the metrics say so",
    )
    endpoint: EndpointSettings | None = Field(
        None,
        description="a served model that judges in place of the checkpoint of the stage `judge`; none: the checkpoint",
    )
    max_infra_share: float = Field(
        0.05, ge=0, le=1, description="of the judge's replies and of all verdicts; the stage stops above it"
    )


def body(p: Params, run: Run) -> dict:
    prompts = prompts_of_candidates(run.input("prompts"), run.input("candidates"))
    everything = read_rows(run.input("candidates"), "candidates", COMPLETION)
    candidates = [c for c in everything if verified(prompts[c["prompt_id"]])]
    asked = [prompts[c["prompt_id"]] for c in candidates]
    judge = whoever_judges(p, run)
    progress = lambda done, total: run.progress(done, total, unit="verdicts")
    rules = verify_on(run.execution, asked, [c["text"] for c in candidates], run.work / "verification", progress)
    fit = judge.accuracy >= p.min_judge_accuracy
    mine = decides(p.judge_share, asked, rules) if fit else []
    items = [(asked[i]["text"], asked[i]["gold"], rules[i]) for i in mine]
    final = dict(zip(mine, judge.ask(items) if items else [], strict=True))
    stop_at_infra("the judge", list(final.values()), p.max_infra_share)
    verdicts = [final.get(i, rule) for i, rule in enumerate(rules)]
    stop_at_infra("the verifiers", verdicts, p.max_infra_share)
    pairs = sorted(final.items())
    write_rows(run.out, "verdicts", [v.row(c["id"], c["prompt_id"]) for v, c in zip(verdicts, candidates)], VERDICT)
    write_rows(run.out, "agreement", [compared(candidates[i], v, rules[i]) for i, v in pairs], AGREEMENT)
    counts = Counter(v.status for v in verdicts)
    return {
        "candidates": len(everything),
        "without_verdict": len(everything) - len(candidates),
        "status": {status: counts[status] for status in STATUSES},
        "methods": dict(sorted(Counter(v.method for v in verdicts).items())),
        "judge": "asked"
        if pairs
        else "none: judge_share is 0"
        if not p.judge_share
        else f"none: its accuracy of {judge.accuracy:.3f} on held-out pairs is below {p.min_judge_accuracy}"
        if not fit
        else "none: it had nothing to decide",
        "judge_prompts": len({candidates[i]["prompt_id"] for i, _ in pairs}),
        "judge_candidates": len(pairs),
        **judge.exam,
        **agreement([v.status for _, v in pairs], [rules[i].status for i, _ in pairs]),
    }


def verified(prompt: dict) -> bool:
    """Whether a rule can decide responses to the prompt; others (imported general ones) get no verdict at all."""
    return prompt["domain"] in DOMAINS and verifiable(prompt["domain"], prompt["gold"])


def stop_at_infra(who: str, verdicts: list[Verdict], share: float) -> None:
    """StageError where more than this share of the verdicts is none."""
    faults = Counter(v.detail for v in verdicts if v.status == "infra")
    if faults.total() > share * len(verdicts):
        often = "; ".join(f"{n} times: {detail}" for detail, n in faults.most_common(3))
        raise StageError(
            f"{who} gave no verdict on {faults.total()} of {len(verdicts)} answers, more than verdicts.max_infra_share "
            f"({share:g}) allows: {often}. Nothing was published; repair it and run the stage again"
        )


def whoever_judges(p: Params, run: Run) -> Judge:
    """Nobody, the model behind the endpoint, or the checkpoint of the stage `judge`."""
    if not p.judge_share:
        return NOBODY
    if p.endpoint is None:
        return checkpoint_judge(run.input_path(p.judge), run.template, run.threads, run.seed, run.progress)
    judge = served_judge(p.endpoint, run.input_path(p.judge), run.root / "work" / "endpoint", run.progress)
    name = f"the judge {p.endpoint.model} at {p.endpoint.url}, in its exam,"
    stop_at_infra(name, judge.said, p.max_infra_share)
    return judge


def compared(candidate: dict, verdict: Verdict, rule: Verdict) -> dict:
    return {
        "completion_id": candidate["id"], "prompt_id": candidate["prompt_id"], "judge": verdict.status,
        "rule": rule.status, "method": rule.method, "detail": verdict.detail,
    }  # fmt: skip


if __name__ == "__main__":
    stage(body, Params)
