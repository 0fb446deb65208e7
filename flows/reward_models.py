"""Reward models (N, Methods): helpfulness from pairs, on the final summary alone; safety pointwise, on the whole response."""

from flows.orchestration.stage import Run, stage
from tasks.evaluation.intervals import wilson
from tasks.prompts.templates import render
from tasks.provenance.artifacts import read_rows
from tasks.responses import parse
from tasks.rows import PREFERENCE_PAIR, SAFETY_LABEL
from tasks.training.reward_model import RewardModelTraining, Scorer, train_helpful, train_safe


class Params(RewardModelTraining):
    pass


def body(p: Params, run: Run) -> dict:
    ask = lambda row, text: render(run.template, row["prompt"]) + text
    pairs = [
        (r["split"], *(ask(r, parse(r[side]).summary.strip()) for side in ("chosen", "rejected")))
        for r in read_rows(run.input("preferences"), "pairs", PREFERENCE_PAIR)
    ]
    labels = [
        (r["split"], ask(r, r["response"]), r["safe"])
        for r in read_rows(run.input("preferences"), "labels", SAFETY_LABEL)
    ]
    log = train_helpful(
        run.input("base"), run.out / "helpful", [t for s, *t in pairs if s == "train"], p, run.seed,
        run.work / "helpful", run.progress, run.accelerate,
    )  # fmt: skip
    log += train_safe(
        run.input("base"), run.out / "safe", [t for s, *t in labels if s == "train"], p, run.seed,
        run.work / "safe", run.progress, run.accelerate,
    )  # fmt: skip
    run.curve(
        [{"step": i + 1, "loss": row["loss"], "learning_rate": row["learning_rate"]} for i, row in enumerate(log)]
    )
    return measure(run, [t for s, *t in pairs if s != "train"], [t for s, *t in labels if s != "train"])


def measure(run: Run, pairs: list, labels: list) -> dict:
    """Accuracy of both models on what they were not trained on."""
    helpful, safe = Scorer(run.out / "helpful"), Scorer(run.out / "safe")
    chosen, rejected = helpful([c for c, _ in pairs]), helpful([r for _, r in pairs])
    above = sum(c > r for c, r in zip(chosen, rejected, strict=True))
    right = sum((score > 0) == label for score, (_, label) in zip(safe([t for t, _ in labels]), labels, strict=True))
    return {
        "helpful": {"pairs": len(pairs), "accuracy": above / len(pairs), "accuracy_ci95": wilson(above, len(pairs))},
        "safe": {"labels": len(labels), "accuracy": right / len(labels), "accuracy_ci95": wilson(right, len(labels))},
    }


if __name__ == "__main__":
    stage(body, Params)
