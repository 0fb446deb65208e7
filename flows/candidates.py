"""Candidates (paper 2.3.3): several samples of Dev2 for each prompt, none judged yet.

Beside them, or in their place, outputs that a teacher has sampled elsewhere (`imported`): their prompts come along in
prompts.parquet, and from here on nothing distinguishes them.
"""

from pydantic import Field, model_validator

from flows.orchestration.stage import Run, stage
from tasks.prompts.readers import SourceError
from tasks.prompts.revoked import read_tombstones, standing
from tasks.prompts.stored import read_prompts
from tasks.prompts.templates import render, template_hash
from tasks.provenance.artifacts import write_rows
from tasks.rewards.format import verifiable
from tasks.rows import COMPLETION, DECISION, PROMPT
from tasks.sampling.engine import EngineSettings, TransformersSettings, open_engine
from tasks.sampling.imported import ImportedSource, imported_candidates
from tasks.sampling.rows import completion_rows
from tasks.settings import Settings
from tasks.verification.spread import gold_problems_on


class Params(Settings):
    model: str = Field(
        description="artifact with the checkpoint; where `prompts` is 0, any: data/01_prompts trains none"
    )
    sources: list[str] = Field(description="sources of `prompts` to sample")
    prompts: int = Field(ge=0, description="prompts at most, by id; not published. 0: nothing is sampled")
    samples: int = Field(ge=1, description="k, samples per prompt; the paper says several")
    temperature: float = Field(gt=0, description="not published")
    top_p: float = Field(1.0, gt=0, le=1, description="not published")
    max_tokens: int = Field(ge=16, description="completion tokens")
    engine: EngineSettings = Field(
        TransformersSettings(), description="what samples: its name, or a block; tasks/sampling/settings.py"
    )
    imported: tuple[ImportedSource, ...] = Field(
        (), description="outputs on disk or on the Hub; tasks/sampling/imported.py"
    )

    @model_validator(mode="after")
    def _something(self):
        if self.prompts == 0 and not self.imported:
            raise ValueError("prompts is 0 and nothing is imported: there would be no candidates")
        if self.prompts and not self.sources:
            raise ValueError("sources is empty: name the sources to sample, or set prompts to 0")
        return self


def body(p: Params, run: Run) -> dict:
    imported, revoked = standing(p.imported, read_tombstones(run.input("revoked/candidates.jsonl")), run.stage)
    if not (p.prompts or imported):
        raise SourceError("all of `candidates.imported` are revoked (data/revoked/candidates.jsonl), and prompts is 0")
    asked, completions, rejected = [], sampled(p, run) if p.prompts else [], revoked
    counts = {}
    check_golds = lambda rows: gold_problems_on(run.execution, rows, run.work / "golds")
    for source in imported:
        prompts, answers, bad = imported_candidates(source, run.root, check_golds)
        asked, completions, rejected = asked + prompts, completions + answers, rejected + bad
        counts[source.name] = {"prompts": len(prompts), "candidates": len(answers), "rejected": len(bad)}
        run.log(
            f"imported {source.name}: {len(answers):,} of {len(answers) + len(bad):,} outputs to {len(prompts):,} prompts"
        )
    write_rows(run.out, "candidates", completions, COMPLETION)
    write_rows(run.out, "prompts", asked, PROMPT)
    write_rows(run.out, "decisions", rejected, DECISION)
    return {
        "prompts": len({c["prompt_id"] for c in completions}),
        "candidates": len(completions),
        "tokens": sum(c["tokens"] or 0 for c in completions),
        "truncated": sum(c["finish"] == "length" for c in completions),
        **({"imported": counts} if counts else {}),
    }


def sampled(p: Params, run: Run) -> list[dict]:
    """COMPLETION rows of the checkpoint."""
    mine = [r for r in read_prompts(run.input("prompts"), "train") if r["source"] in p.sources]
    rows = sorted((r for r in mine if verifiable(r["domain"], r["gold"])), key=lambda r: r["id"])[: p.prompts]
    settings = {"temperature": p.temperature, "top_p": p.top_p, "max_tokens": p.max_tokens}
    texts = [render(run.template, r["text"]) for r in rows]
    with open_engine(p.engine, run.input_path(p.model), run.work, run.threads, run.execution) as engine:
        samples = engine.sample(texts, p.samples, **settings, seed=run.seed, progress=run.progress)
    settings |= {"seed": run.seed, "template": template_hash(run.template)}
    return completion_rows(engine, rows, samples, settings)


if __name__ == "__main__":
    stage(body, Params)
