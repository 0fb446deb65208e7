"""Dev1 (paper 2.3.1): SFT of the base, not of R1-Zero, on the cold-start set."""

from flows.orchestration.stage import Run, stage
from tasks.curation.examples import read_examples
from tasks.prompts.templates import render
from tasks.settings import Settings
from tasks.training.settings import SFT
from tasks.training.sft import fine_tune_checkpoint


class Params(Settings):
    sft: SFT


def fine_tune_base(p: Params, run: Run, examples: str) -> dict:
    """SFT of the base on a set of examples; `dev3` does the same with the SFT set."""
    pairs = [(render(run.template, e["prompt"]), e["response"]) for e in read_examples(run.input(examples))]
    metrics, curve = fine_tune_checkpoint(
        run.input("base"), run.out, pairs, p.sft, run.seed, run.work, run.progress, run.threads, run.accelerate
    )
    run.curve(curve)
    return metrics


def body(p: Params, run: Run) -> dict:
    return fine_tune_base(p, run, "cold_start")


if __name__ == "__main__":
    stage(body, Params)
