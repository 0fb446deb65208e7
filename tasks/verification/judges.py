"""Who judges candidates: a checkpoint trained to it, or a served model; each with its share of right verdicts.

Paper 2.3.3: a model sees the question, the ground truth and the prediction. Either kind decides only after an exam of
held-out pairs. It is not asked about an answer that the rules cannot find.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.evaluation.intervals import wilson
from tasks.prompts.templates import render
from tasks.provenance.artifacts import checked, read_rows
from tasks.verification.endpoint import Endpoint, EndpointSettings
from tasks.verification.judge import judge_all, judge_prompt, judged
from tasks.verification.verdict import Verdict

if TYPE_CHECKING:
    from tasks.progress import Progress

REPLY_TOKENS = 4  # the checkpoint answers with one word
Items = list[tuple[str, str, Verdict]]  # question, gold, the rules' verdict with the prediction


@dataclass(frozen=True)
class Judge:
    """Whoever judges: its share of right verdicts on the exam, and how it is asked."""

    accuracy: float
    ask: Callable[[Items], list[Verdict]]
    exam: dict  # for the metrics, where it sat the exam here
    said: list[Verdict]  # in that exam


NOBODY = Judge(1.0, lambda items: [], {}, [])


def checkpoint_judge(folder: Path, template: str, threads: int, seed: int, progress: "Progress") -> Judge:
    """The checkpoint of the stage `judge` in `folder`; it sat its exam there (exam.json)."""
    exam = json.loads(checked(folder, "exam.json").read_text())

    def ask(items: Items) -> list[Verdict]:
        from tasks.sampling.policy import load_policy
        from tasks.sampling.transformers_engine import sample

        texts = [render(template, judge_prompt(text, gold, rule.extracted)) for text, gold, rule in items]
        questions = list(dict.fromkeys(texts))  # a repeated one is put to it once
        policy = load_policy(folder, threads)
        counted = lambda done, total, unit, **more: progress(done, total, "judgements", **more)
        replies = sample(policy, questions, 1, 0.0, 1.0, REPLY_TOKENS, seed, counted)
        said = {question: reply[0].text for question, reply in zip(questions, replies, strict=True)}
        return [judged(rule, said[text], policy.sha[:16]) for text, (*_, rule) in zip(texts, items, strict=True)]

    return Judge(exam["accuracy"], ask, {}, [])


def served_judge(settings: EndpointSettings, exam: Path, cache: Path, progress: "Progress") -> Judge:
    """The model behind an endpoint; it sits the exam, the pairs in the artifact `exam`, here. `cache` keeps replies."""

    def ask(items: list[tuple[str, str, str]], unit: str) -> list[Verdict]:
        with Endpoint(settings, cache) as engine:
            return judge_all(items, engine, lambda done, total: progress(done, total, unit=unit))

    pairs = read_rows(exam, "exam")
    said = ask([(e["question"], e["gold"], e["prediction"]) for e in pairs], "exam pairs")
    right = sum(v.ok == e["right"] for v, e in zip(said, pairs, strict=True) if v.status != "infra")
    facts = {
        "judge_model": settings.model, "exam_held_out": len(pairs), "exam_infra": sum(v.status == "infra" for v in said),
        "exam_accuracy": right / len(pairs), "exam_accuracy_ci95": wilson(right, len(pairs)),
    }  # fmt: skip
    decide = lambda items: ask([(text, gold, rule.extracted) for text, gold, rule in items], "judgements")
    return Judge(right / len(pairs), decide, facts, said)


def decides(share: float | None, asked: list[dict], rules: list[Verdict]) -> list[int]:
    """Positions that the judge decides: of its prompts, where there is a gold and the rules found an answer."""
    found = [i for i, row in enumerate(asked) if rules[i].extracted is not None and row["gold"] is not None]
    return [i for i in found if chosen(asked[i]["id"], share)] if share else []


def chosen(prompt_id: str, share: float) -> bool:
    """Whether the judge decides this prompt: by content hash, so in every run the same."""
    digest = hashlib.blake2b(f"judge {prompt_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < share
