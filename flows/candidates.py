"""Candidates (paper 2.3.3): several samples of Dev2 for each prompt, none judged yet."""

from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.prompts.stored import read_prompts
from tasks.prompts.templates import render, template_hash
from tasks.provenance.artifacts import write_rows
from tasks.rewards.format import verifiable
from tasks.rows import COMPLETION
from tasks.sampling.policy import load_policy
from tasks.sampling.rows import completion_rows
from tasks.sampling.transformers_engine import sample
from tasks.settings import Settings


class Params(Settings):
    sources: list[str] = Field(min_length=1, description="sources of `prompts` to sample")
    prompts: int = Field(ge=1, description="prompts at most, by id; not published")
    samples: int = Field(ge=1, description="k, samples per prompt; the paper says several")
    temperature: float = Field(gt=0, description="not published")
    top_p: float = Field(1.0, gt=0, le=1, description="not published")
    max_tokens: int = Field(ge=16, description="completion tokens")


def body(p: Params, run: Run) -> dict:
    mine = [r for r in read_prompts(run.input("prompts"), "train") if r["source"] in p.sources]
    rows = sorted((r for r in mine if verifiable(r["domain"], r["gold"])), key=lambda r: r["id"])[: p.prompts]
    policy = load_policy(run.input("dev2"), run.threads)
    settings = {"temperature": p.temperature, "top_p": p.top_p, "max_tokens": p.max_tokens}
    texts = [render(run.template, r["text"]) for r in rows]
    samples = sample(policy, texts, p.samples, **settings, seed=run.seed, progress=run.progress)
    settings |= {"seed": run.seed, "template": template_hash(run.template)}
    completions = completion_rows(rows, samples, policy.sha, settings)
    write_rows(run.out, "candidates", completions, COMPLETION)
    return {
        "prompts": len(rows),
        "candidates": len(completions),
        "tokens": sum(c["tokens"] for c in completions),
        "truncated": sum(c["finish"] == "length" for c in completions),
    }


if __name__ == "__main__":
    stage(body, Params)
