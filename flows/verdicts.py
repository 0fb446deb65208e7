"""Verdicts on the candidates: rules for all of them, the generative judge for a share of the prompts (paper 2.3.3).

The judge sees the question, the ground truth and the prediction. Where it decides, its verdict is the final one and
the rule verdict stands beside it in agreement.parquet, so that the report can say how far the two agree. An answer
that the rules cannot find in the response is not put to the judge: it stays unparsable.
"""

import hashlib
import json
from collections import Counter

import pyarrow as pa
from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.prompts.stored import read_prompts
from tasks.prompts.templates import render
from tasks.provenance.artifacts import checked, read_rows, write_rows
from tasks.rows import COMPLETION, STATUSES, VERDICT
from tasks.settings import Settings
from tasks.verification.judge import agreement, judge_prompt, judged
from tasks.verification.verdict import Verdict
from tasks.verification.verify import verify_all

REPLY_TOKENS = 4  # the judge answers with one word
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

    judge_share: float | None = Field(
        ge=0, le=1, description="share of the prompts the judge decides; the paper says a part; 0: no judge"
    )
    min_judge_accuracy: float = Field(
        0.8, ge=0, le=1, description="on the judge's held-out pairs; one below it decides nothing, and the metrics say so"
    )


def chosen(prompt_id: str, share: float) -> bool:
    """Whether the judge decides this prompt: by content hash, so in every run the same."""
    digest = hashlib.blake2b(f"judge {prompt_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < share


def body(p: Params, run: Run) -> dict:
    prompts = {row["id"]: row for row in read_prompts(run.input("prompts"), "train")}
    candidates = read_rows(run.input("candidates"), "candidates", COMPLETION)
    asked = [prompts[c["prompt_id"]] for c in candidates]
    progress = lambda done, total: run.progress(done, total, unit="verdicts")
    rules = verify_all(asked, [c["text"] for c in candidates], progress)
    exam = json.loads(checked(run.input("judge"), "exam.json").read_text())["accuracy"]
    fit = exam >= p.min_judge_accuracy
    final = judge(p.judge_share, asked, rules, run) if p.judge_share and fit else {}
    verdicts = [final.get(i, rule) for i, rule in enumerate(rules)]
    pairs = sorted(final.items())
    write_rows(run.out, "verdicts", [v.row(c["id"], c["prompt_id"]) for v, c in zip(verdicts, candidates)], VERDICT)
    write_rows(run.out, "agreement", [compared(candidates[i], v, rules[i]) for i, v in pairs], AGREEMENT)
    counts = Counter(v.status for v in verdicts)
    return {
        "candidates": len(candidates),
        "status": {status: counts[status] for status in STATUSES},
        "methods": dict(sorted(Counter(v.method for v in verdicts).items())),
        "judge": "asked"
        if pairs
        else "none: judge_share is 0"
        if not p.judge_share
        else f"none: its accuracy of {exam:.3f} on held-out pairs is below {p.min_judge_accuracy}"
        if not fit
        else "none: it had nothing to decide",
        "judge_prompts": len({candidates[i]["prompt_id"] for i, _ in pairs}),
        "judge_candidates": len(pairs),
        **agreement([v.status for _, v in pairs], [rules[i].status for i, _ in pairs]),
    }


def judge(share: float, asked: list[dict], rules: list[Verdict], run: Run) -> dict[int, Verdict]:
    """The judge's verdicts by position; a repeated (question, gold, answer) is put to it once."""
    from tasks.sampling.policy import load_policy
    from tasks.sampling.transformers_engine import sample

    mine = [i for i, row in enumerate(asked) if rules[i].extracted is not None and chosen(row["id"], share)]
    texts = {
        i: render(run.template, judge_prompt(asked[i]["text"], asked[i]["gold"], rules[i].extracted)) for i in mine
    }
    questions = list(dict.fromkeys(texts.values()))
    policy = load_policy(run.input("judge"), run.threads)
    progress = lambda done, total: run.progress(done, total, unit="judgements")
    replies = sample(policy, questions, 1, 0.0, 1.0, REPLY_TOKENS, run.seed, progress)
    said = {question: reply[0].text for question, reply in zip(questions, replies, strict=True)}
    return {i: judged(rules[i], said[texts[i]], policy.sha[:16]) for i in mine}


def compared(candidate: dict, verdict: Verdict, rule: Verdict) -> dict:
    return {
        "completion_id": candidate["id"], "prompt_id": candidate["prompt_id"], "judge": verdict.status,
        "rule": rule.status, "method": rule.method, "detail": verdict.detail,
    }  # fmt: skip


if __name__ == "__main__":
    stage(body, Params)
