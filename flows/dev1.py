"""Dev1 (paper 2.3.1): SFT of the base, not of R1-Zero, on the cold-start set."""

from flows.orchestration.stage import Run, stage
from tasks.curation.examples import read_examples
from tasks.prompts.templates import render
from tasks.settings import Settings
from tasks.training.settings import SFT
from tasks.training.sft import fine_tune_checkpoint


class Params(Settings):
    sft: SFT


def body(p: Params, run: Run) -> dict:
    pairs = [(render(run.template, e["prompt"]), e["response"]) for e in read_examples(run.input("cold_start"))]
    metrics, curve = fine_tune_checkpoint(
        run.input("base"), run.out, pairs, p.sft, run.seed, run.work, run.progress, run.threads
    )
    run.curve(curve)
    return metrics


if __name__ == "__main__":
    stage(body, Params)
