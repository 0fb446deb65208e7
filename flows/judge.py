"""The generative verifier (paper 2.3.3): it reads question, ground truth and prediction, and writes a verdict.

Departure: the paper asks DeepSeek-V3. Here the base is fine-tuned into a small judge on procedural pairs of gold and
prediction, half of them wrong. It sits an exam on held-out pairs (`exam.json`); `verdicts` asks only a judge that passed.
The pairs are kept (`exam.parquet`): a served judge, where `verdicts` names one, sits the same exam.
"""

import json

import pyarrow as pa
from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.evaluation.intervals import wilson
from tasks.prompts.judgements import pairs
from tasks.prompts.templates import render
from tasks.provenance.artifacts import write_rows
from tasks.sampling.policy import load_policy
from tasks.sampling.transformers_engine import sample
from tasks.settings import Settings
from tasks.training.settings import SFT
from tasks.training.sft import fine_tune_checkpoint
from tasks.verification.judge import judge_prompt, parse_reply

EXAM = pa.schema(
    [
        ("question", pa.string()),
        ("gold", pa.string()),
        ("prediction", pa.string()),
        ("right", pa.bool_()),  # whether the prediction is
        ("judge", pa.string()),  # what this judge said of it
    ]
)


class Params(Settings):
    pairs: int = Field(ge=10, description="training pairs; not published")
    held_out: int = Field(ge=10, description="pairs its accuracy is measured on")
    sft: SFT


def body(p: Params, run: Run) -> dict:
    examples = pairs(run.seed, p.pairs + p.held_out)
    ask = lambda e: render(run.template, judge_prompt(e.question, e.gold, e.prediction))
    train, held_out = examples[: p.pairs], examples[p.pairs :]
    texts = [(ask(e), "ok" if e.right else "wrong") for e in train]
    metrics, _ = fine_tune_checkpoint(
        run.input("base"), run.out, texts, p.sft, run.seed, run.work, run.progress, run.threads, run.accelerate
    )
    policy = load_policy(run.out, run.threads)
    replies = sample(policy, [ask(e) for e in held_out], 1, 0.0, 1.0, 4, run.seed)
    said = [parse_reply(reply[0].text) for reply in replies]
    right = sum((word == "ok") == e.right for word, e in zip(said, held_out, strict=True))
    write_rows(run.out, "exam", [vars(e) | {"judge": word} for e, word in zip(held_out, said)], EXAM)
    exam = {
        "pairs": len(train),
        "held_out": len(held_out),
        "accuracy": right / len(held_out),
        "accuracy_ci95": wilson(right, len(held_out)),
    }
    (run.out / "exam.json").write_text(json.dumps(exam))
    return metrics | exam


if __name__ == "__main__":
    stage(body, Params)
