"""Reasoning set: of the candidates of Dev2 only the correct and readable ones (paper 2.3.3, about 600k there).

Correct by verdict; dropped are mixed languages, over-long paragraphs and code blocks, and beyond the paper's list
truncated and malformed responses, repetition, duplicates and near-duplicates, chains of thought that contain problems
of the evaluation sets, and more than a cap per prompt. Every rule is decided for every candidate.
"""

import shutil

import pyarrow.parquet as pq

from flows.orchestration.stage import Run, stage
from tasks.curation.curate import curate
from tasks.curation.policy import Benchmark, Policy
from tasks.curation.reasoning import join_candidates, kept_examples
from tasks.prompts.stored import prompts_of_candidates
from tasks.provenance.artifacts import checked, write_rows
from tasks.rows import SFT_EXAMPLE


class Params(Policy):
    """Section `reasoning` of params.yaml: a curation policy, as in recipes/selection.

    Chains of thought are held against the final split and the evaluation sets of `prompts` without being named here.
    """


def body(p: Params, run: Run) -> dict:
    bank, candidates, verdicts = (run.input(name) for name in ("prompts", "candidates", "verdicts"))
    joined, curated = run.work / "candidates.parquet", run.work / "curated"
    rows = join_candidates(
        checked(candidates, "candidates.parquet"), checked(verdicts, "verdicts.parquet"),
        [checked(bank, "train.parquet"), checked(candidates, "prompts.parquet")], joined,
    )  # fmt: skip
    held_out = Benchmark(name="evaluation", path=str(bank / "benchmarks"))
    funnel = curate(
        [joined], p, curated, work=run.work / "curation", workers=run.threads, benchmarks=[held_out], seed=run.seed,
        root=run.root, picture=False, execution=run.execution,
        progress=lambda step, done, of: run.progress(done, of, unit="", note=step),
    )  # fmt: skip
    prompts = prompts_of_candidates(bank, candidates)
    write_rows(run.out, "examples", kept_examples(curated / "kept.parquet", prompts), SFT_EXAMPLE)
    for name in ("decisions", "outcomes", "near_duplicates"):
        shutil.copyfile(curated / f"{name}.parquet", run.out / f"{name}.parquet")
    kept = pq.read_table(run.out / "examples.parquet", columns=["prompt_id"])["prompt_id"]
    return {
        "candidates": rows,
        "kept": funnel.kept,
        "rejected": funnel.rejected,
        "prompts": len(kept.unique()),
        "funnel": [
            {"step": step.step, "rule": rule.rule, "rejected": rule.rejected, "failed": rule.failed}
            for step in funnel.steps
            for rule in step.rules
            if step.step != "input"
        ],
    }


if __name__ == "__main__":
    stage(body, Params)
