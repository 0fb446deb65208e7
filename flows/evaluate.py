"""Evaluation of one checkpoint on the final split, which no other stage reads (paper §3).

Zero-shot, pass@1 averaged over k samples and cons@k as in the paper, pass@k beside them, each with a bootstrap 95 %
interval over the problems. Beyond the paper: what the model does when it is made to guess or made to reason, which
says how much RL elicited. Departures: T = 1 and no nucleus at `cpu` (paper: 0.6 and 0.95), where a low temperature
would hide how often the tiny model goes wrong. Every model is sampled with the same seeds.
"""

from pydantic import Field, model_validator

from flows.orchestration.stage import Run, stage
from tasks.evaluation import elicitation, metrics
from tasks.evaluation.protocol import Protocol
from tasks.prompts import running_sums
from tasks.prompts.templates import render, template_hash
from tasks.provenance.artifacts import ArtifactError, read_rows, write_rows
from tasks.rewards.format import verifiable
from tasks.rows import COMPLETION, PROMPT, VERDICT, derive_seed
from tasks.sampling.engine import Engine, EngineSettings, TransformersSettings, open_engine
from tasks.sampling.rows import completion_rows
from tasks.settings import Settings
from tasks.training.checkpoints import parameters

FORCED_SAMPLES = 2  # per problem, when made to guess and when made to reason


class Params(Settings):
    models: dict[str, str] = Field(min_length=1, description="name in metrics/evaluate/ -> folder of the checkpoint")
    sources: list[str] = Field(min_length=1, description="sources of the problems, by their name under prompts.sources")
    problems: int = Field(ge=1, description="problems of the final split, the first ones by id")
    k: int = Field(ge=1, description="samples per problem; paper: 16 for MATH-500, 64 for AIME")
    temperature: float = Field(gt=0, description="paper: 0.6")
    top_p: float = Field(gt=0, le=1, description="paper: 0.95")
    max_tokens: int = Field(ge=1, description="of a completion; paper: 32,768")
    engine: EngineSettings = Field(
        TransformersSettings(), description="what samples: its name, or a block; tasks/sampling/settings.py"
    )

    @model_validator(mode="after")
    def _its_own_weights(self):
        if getattr(self.engine, "revision", None):
            raise ValueError(
                "engine.revision names a model that is none of `models`: its scores would stand under their names"
            )
        return self


def choose(rows: list[dict], p: Params) -> list[dict]:
    """The first `p.problems` verifiable problems of the named sources, by id; too few is an error."""
    known = {r["source"] for r in rows}
    if unknown := [s for s in p.sources if s not in known]:
        raise ArtifactError(f"evaluate.sources: {unknown} have no row in data/01_final; it has {sorted(known)}")
    mine = [r for r in rows if r["source"] in p.sources and verifiable(r["domain"], r["gold"])]
    found = sorted(mine, key=lambda r: r["id"])
    if len(found) < p.problems:
        raise ArtifactError(
            f"evaluate.problems asks for {p.problems} problems, but the final split holds {len(found)} of {', '.join(p.sources)}: "
            "raise prompts.final_share or the sources' `count`, or lower evaluate.problems"
        )
    return found[: p.problems]


def answer(engine: Engine, problems: list[dict], p: Params, run: Run, begin: str = "", k: int | None = None):
    """COMPLETION and VERDICT rows of k samples per problem; `begin` is how the response is made to begin."""
    from tasks.verification.spread import verify_on

    seed = derive_seed(run.root_seed, "evaluate", begin)
    prompts = [render(run.template, q["text"]) + begin for q in problems]
    note = f"sampling {begin}".strip()
    drawn = engine.sample(
        prompts, k or p.k, p.temperature, p.top_p, p.max_tokens, seed,
        progress=lambda *where, **more: run.progress(*where, note=note, **more),
    )  # fmt: skip
    settings = {
        "temperature": p.temperature, "top_p": p.top_p, "max_tokens": p.max_tokens, "seed": seed,
        "template": template_hash(run.template), "begin": begin,
    }  # fmt: skip
    rows = completion_rows(engine, problems, drawn, settings)
    for row in rows:
        row["text"] = begin + row["text"]  # what the response is, however it was begun
    asked = {q["id"]: q for q in problems}
    questions = [asked[r["prompt_id"]] for r in rows]
    verdicts = verify_on(run.execution, questions, [r["text"] for r in rows], run.work / "verification")
    return rows, [v.row(r["id"], r["prompt_id"]) for v, r in zip(verdicts, rows, strict=True)]


def body(p: Params, run: Run) -> dict:
    from tasks.verification.verify import verifier_version

    problems = choose(read_rows(run.input("final"), "final", PROMPT), p)
    checkpoint = p.models[run.item]
    forced, forced_verdicts, elicited = [], [], {}
    with open_engine(p.engine, run.root / checkpoint, run.work, run.threads, run.execution) as engine:
        samples, verdicts = answer(engine, problems, p, run)
        for mode, begin in elicitation.FORCED.items():
            rows, judged = answer(engine, problems, p, run, begin, FORCED_SAMPLES) if engine.continues else ([], [])
            elicited |= elicitation.forced(mode, metrics.judged(rows, judged), run.root_seed)
            forced, forced_verdicts = forced + rows, forced_verdicts + judged
    free = metrics.judged(samples, verdicts)
    write_rows(run.out, "problems", problems, PROMPT)
    write_rows(run.out, "samples", samples, COMPLETION)
    write_rows(run.out, "verdicts", verdicts, VERDICT)
    write_rows(run.out, "forced_samples", forced, COMPLETION)
    write_rows(run.out, "forced_verdicts", forced_verdicts, VERDICT)
    own_family = all(q["origin"].startswith("running_sums#") for q in problems)  # the classifier knows only these
    verifier = verifier_version(*sorted({q["domain"] for q in problems}))
    protocol = Protocol(
        problems=len(problems), k=p.k, seed=run.root_seed, temperature=p.temperature, top_p=p.top_p, max_tokens=p.max_tokens,
        split="final", template=run.template if engine.continues else f"{run.template} as a chat message", template_hash=template_hash(run.template), verifier=verifier,
        sources=sorted(p.sources),
    )  # fmt: skip
    return {
        "model": run.item,
        "checkpoint": checkpoint,
        **metrics.summary(free, {q["id"]: q["language"] for q in problems}, p.k, run.root_seed),
        "parameters": parameters(run.root / checkpoint),
        "elicitation": elicitation.free(free, running_sums.style if own_family else None) | elicited,
        "protocol": protocol.model_dump(),
        **({"engine": {"name": engine.name, **engine.protocol}} if engine.name != "transformers" else {}),
    }


if __name__ == "__main__":
    stage(body, Params)
