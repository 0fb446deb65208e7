"""The cold-start CoT set (paper 2.3.1): "thousands" of long, readable chains of thought from four routes.

Few-shot prompting with a long CoT, and direct prompting for reflection and verification, both of the base; R1-Zero's
outputs made readable; human review (`r1 annotate`). Each row has the readable pattern, reasoning then summary; what
is not readable is dropped with its reason. Departure: at `cpu` a procedural refiner stands in for DeepSeek-V3.
"""

from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.curation.annotation import read_annotations
from tasks.curation.cold_start import ROUTES, take
from tasks.curation.collection import Collection
from tasks.prompts.revoked import read_tombstones
from tasks.prompts.stored import read_prompts
from tasks.sampling.engine import EngineSettings, TransformersSettings, open_engine
from tasks.settings import Settings
from tasks.verification.verify import verify


class Params(Settings):
    rows: int = Field(ge=1, description="rows wanted; the paper says thousands, the count is not published")
    prompt_sources: list[str] = Field(min_length=1, description="sources of `prompts` to collect on")
    sources: dict[str, float] = Field(description=f"route -> share of the rows; routes: {', '.join(ROUTES)}")
    asked_per_row: int = Field(4, ge=1, description="prompts asked for each row wanted")
    samples: int = Field(4, ge=1, description="samples per prompt; the first readable one is kept")
    temperature: float = Field(1.0, gt=0, description="S: 1.0")
    max_tokens: int = Field(128, ge=16, description="completion tokens")
    engine: EngineSettings = Field(
        TransformersSettings(), description="what samples: its name, or a block; tasks/sampling/settings.py"
    )
    procedural_refiner: bool = Field(
        True, description="make sampled responses readable by rule; false: keep those that are"
    )
    annotations: str = Field(description="reviewed rows, written by `r1 annotate import`")


def body(p: Params, run: Run) -> dict:
    rows = [r for r in read_prompts(run.input("prompts"), "train") if r["source"] in p.prompt_sources]
    plan = take(sorted(rows, key=lambda r: r["id"]), p.sources, p.rows, p.asked_per_row)
    collect = Collection(
        verify, run.template, p.procedural_refiner, p.samples, p.temperature, p.max_tokens, run.seed, run.progress
    )
    with open_engine(p.engine, run.input("base"), run.work, run.threads, run.execution) as base:
        collect.few_shot(base, *plan["few_shot"], examples=[r for r in rows if r["solution"]])
        collect.direct(base, *plan["direct"])
    with open_engine(p.engine, run.input("r1_zero"), run.work, run.threads, run.execution) as r1_zero:
        collect.r1_zero(r1_zero, *plan["r1_zero"])
    reviewed = read_annotations(run.input_path(p.annotations))
    revoked = read_tombstones(run.input("revoked/cold_start.jsonl"))
    collect.human([a for a in reviewed if a.annotator not in revoked], plan["human"][0], rows)
    gone = sorted({a.annotator for a in reviewed} & set(revoked))
    collect.decisions += [revoked[name].decision(run.stage) for name in gone]
    collect.write(run.out)
    return collect.metrics()


if __name__ == "__main__":
    stage(body, Params)
