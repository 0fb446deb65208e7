"""Verdicts on the candidates: rules for all of them, the generative judge for a share of the prompts (paper 2.3.3).

The judge sees the question, the ground truth and the prediction. Where it decides, its verdict is the final one and
the rule verdict stands beside it in agreement.parquet, so that the report can say how far the two agree. An answer
that the rules cannot find in the response is not put to the judge: it stays unparsable.

The judge is the checkpoint of the stage `judge`, or a model behind an OpenAI-compatible endpoint (`endpoint`). Either
decides only after it has passed the exam of held-out pairs. The replies of an endpoint are kept in work/endpoint/, so
that no question is paid for twice, in this run or a later one. A judge that fails is no verdict (infra).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from pydantic import Field

from flows.orchestration.stage import Run, StageError, stage
from tasks.evaluation.intervals import wilson
from tasks.prompts.stored import prompts_of_candidates
from tasks.prompts.templates import render
from tasks.provenance.artifacts import checked, read_rows, write_rows
from tasks.rewards.format import verifiable
from tasks.rows import COMPLETION, STATUSES, VERDICT
from tasks.settings import Settings
from tasks.verification.endpoint import Endpoint, EndpointSettings
from tasks.verification.judge import agreement, judge_all, judge_prompt, judged
from tasks.verification.verdict import Verdict
from tasks.verification.verify import DOMAINS, verify_all

REPLY_TOKENS = 4  # the checkpoint answers with one word
Items = list[tuple[str, str, Verdict]]  # question, gold, the rules' verdict with the prediction
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


@dataclass(frozen=True)
class Judge:
    """Whoever judges: its share of right verdicts on the exam, and how it is asked."""

    accuracy: float
    ask: Callable[[Items], list[Verdict]]
    exam: dict  # for the metrics, where it sat the exam in this stage


NOBODY = Judge(1.0, lambda items: [], {})


def chosen(prompt_id: str, share: float) -> bool:
    """Whether the judge decides this prompt: by content hash, so in every run the same."""
    digest = hashlib.blake2b(f"judge {prompt_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < share


def body(p: Params, run: Run) -> dict:
    prompts = prompts_of_candidates(run.input("prompts"), run.input("candidates"))
    everything = read_rows(run.input("candidates"), "candidates", COMPLETION)
    candidates = [c for c in everything if verified(prompts[c["prompt_id"]])]
    asked = [prompts[c["prompt_id"]] for c in candidates]
    judge = (served if p.endpoint else local)(p, run)
    progress = lambda done, total: run.progress(done, total, unit="verdicts")
    rules = verify_all(asked, [c["text"] for c in candidates], progress)
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


def decides(share: float, asked: list[dict], rules: list[Verdict]) -> list[int]:
    """Positions that the judge decides: of its prompts, where there is a gold and the rules found an answer."""
    found = [i for i, row in enumerate(asked) if rules[i].extracted is not None and row["gold"] is not None]
    return [i for i in found if chosen(asked[i]["id"], share)] if share else []


def stop_at_infra(who: str, verdicts: list[Verdict], share: float) -> None:
    """StageError where more than this share of the verdicts is none."""
    faults = Counter(v.detail for v in verdicts if v.status == "infra")
    if faults.total() > share * len(verdicts):
        often = "; ".join(f"{n} times: {detail}" for detail, n in faults.most_common(3))
        raise StageError(
            f"{who} gave no verdict on {faults.total()} of {len(verdicts)} answers, more than verdicts.max_infra_share "
            f"({share:g}) allows: {often}. Nothing was published; repair it and run the stage again"
        )


def local(p: Params, run: Run) -> Judge:
    """The checkpoint of the stage `judge`; it sat its exam there."""
    if not p.judge_share:
        return NOBODY
    exam = json.loads(checked(run.input_path(p.judge), "exam.json").read_text())

    def ask(items: Items) -> list[Verdict]:
        from tasks.sampling.policy import load_policy
        from tasks.sampling.transformers_engine import sample

        texts = [render(run.template, judge_prompt(text, gold, rule.extracted)) for text, gold, rule in items]
        questions = list(dict.fromkeys(texts))  # a repeated one is put to it once
        policy = load_policy(run.input_path(p.judge), run.threads)
        progress = lambda done, total, unit, **more: run.progress(done, total, "judgements", **more)
        replies = sample(policy, questions, 1, 0.0, 1.0, REPLY_TOKENS, run.seed, progress)
        said = {question: reply[0].text for question, reply in zip(questions, replies, strict=True)}
        return [judged(rule, said[text], policy.sha[:16]) for text, (*_, rule) in zip(texts, items, strict=True)]

    return Judge(exam["accuracy"], ask, {})


def served(p: Params, run: Run) -> Judge:
    """The model behind the endpoint; it sits the exam here, before anything else is done."""

    def ask(items: list[tuple[str, str, str]], unit: str) -> list[Verdict]:
        progress = lambda done, total: run.progress(done, total, unit=unit)
        with Endpoint(p.endpoint, run.root / "work" / "endpoint") as engine:
            return judge_all(items, engine, progress)

    if not p.judge_share:
        return NOBODY
    pairs = read_rows(run.input_path(p.judge), "exam")
    said = ask([(e["question"], e["gold"], e["prediction"]) for e in pairs], "exam pairs")
    stop_at_infra(f"the judge {p.endpoint.model} at {p.endpoint.url}, in its exam,", said, p.max_infra_share)
    right = sum(v.ok == e["right"] for v, e in zip(said, pairs, strict=True) if v.status != "infra")
    exam = {
        "judge_model": p.endpoint.model, "exam_held_out": len(pairs), "exam_infra": sum(v.status == "infra" for v in said),
        "exam_accuracy": right / len(pairs), "exam_accuracy_ci95": wilson(right, len(pairs)),
    }  # fmt: skip
    decide = lambda items: ask([(text, gold, rule.extracted) for text, gold, rule in items], "judgements")
    return Judge(right / len(pairs), decide, exam)


def compared(candidate: dict, verdict: Verdict, rule: Verdict) -> dict:
    return {
        "completion_id": candidate["id"], "prompt_id": candidate["prompt_id"], "judge": verdict.status,
        "rule": rule.status, "method": rule.method, "detail": verdict.detail,
    }  # fmt: skip


if __name__ == "__main__":
    stage(body, Params)
