"""Dev3 (paper 2.3.3): two epochs of SFT of the base on the union of reasoning and non-reasoning data."""

from flows import dev1
from flows.orchestration.stage import Run, stage
from tasks.curation.examples import read_examples
from tasks.prompts.templates import render
from tasks.training.sft import fine_tune_checkpoint


class Params(dev1.Params):
    pass


def body(p: Params, run: Run) -> dict:
    pairs = [(render(run.template, e["prompt"]), e["response"]) for e in read_examples(run.input("sft_data"))]
    metrics, curve = fine_tune_checkpoint(
        run.input("base"), run.out, pairs, p.sft, run.seed, run.work, run.progress, run.threads
    )
    run.curve(curve)
    return metrics


if __name__ == "__main__":
    stage(body, Params)
