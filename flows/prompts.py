"""Prompt bank: every question of the recipe, with its gold, its licence and where it came from (paper 2.2.4, S).

Prompts of every domain from files, the Hub and procedural families; golds checked with their verifier, equal and nearly
equal prompts out, decontaminated, split by content hash. The final split is published apart: only `evaluate` reads it;
`benchmarks/` holds its hashes, and those of the evaluation sets, for the stages that come after. We depart from the
paper in scale and in sources: its prompts are not published.
"""

from collections import Counter

from pydantic import Field, model_validator

from flows.orchestration.stage import Run, stage
from tasks.curation.policy import Decontamination
from tasks.prompts.bank import Bank, build
from tasks.prompts.evaluation_sets import overlaps, publish
from tasks.prompts.near_duplicates import near_duplicates
from tasks.prompts.readers import SourceError
from tasks.prompts.revoked import read_tombstones, standing
from tasks.prompts.sources import Source, read_source
from tasks.prompts.split import HELD_OUT
from tasks.provenance.artifacts import write_rows
from tasks.rows import DECISION, PROMPT
from tasks.settings import Settings
from tasks.verification.spread import gold_problems_on


class Params(Settings):
    """Section `prompts` of params.yaml."""

    sources: list[Source] = Field(min_length=1, description="in order; of equal prompts the first source keeps its own")
    validation_share: float | None = Field(0.05, ge=0, le=HELD_OUT, description="of the prompts split by content hash")
    final_share: float | None = Field(0.10, ge=0, le=HELD_OUT, description="of the prompts split by content hash")
    max_prompt_tokens: int | None = Field(
        160, ge=1, description="longer prompts are rejected; estimated, see bank.estimate_tokens"
    )
    max_duplicate_share: float | None = Field(
        0.5, ge=0, le=1, description="stop where more of a source than this repeats other prompts"
    )
    near_duplicates: float | None = Field(
        0.9, gt=0, le=1, description="Jaccard of word 5-grams from which two prompts are one; null: only equal ones are"
    )
    decontamination: Decontamination = Field(
        Decontamination(), description="evaluation sets that no training prompt may hold; see tasks/curation/policy.py"
    )

    @model_validator(mode="after")
    def _consistent(self):
        names = [s.name for s in self.sources]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"two sources are called {twice[0]}")
        if (
            None not in (self.validation_share, self.final_share)
            and self.validation_share + self.final_share > HELD_OUT
        ):
            raise ValueError(
                f"validation_share + final_share is above {HELD_OUT}, the band that pretraining leaves out"
            )
        return self


def body(p: Params, run: Run) -> dict:
    sources, revoked = standing(p.sources, read_tombstones(run.input("revoked/prompts.jsonl")), run.stage)
    if not sources:
        raise SourceError("all of `prompts.sources` are revoked (data/revoked/prompts.jsonl); add one, or undo one")
    readings = []
    for i, source in enumerate(sources):
        run.progress(i, len(sources), unit="sources", note=source.name)
        readings.append(read_source(source, run.root, run.root_seed))
    check_golds = lambda rows: gold_problems_on(run.execution, rows, run.work / "golds")
    bank = build(
        readings, check_golds, p.validation_share, p.final_share, p.max_prompt_tokens, p.max_duplicate_share,
        overlap=lambda rows: overlaps(rows, p.decontamination, run.root),
        near=lambda texts: similar(p, texts, run),
    )  # fmt: skip
    run.progress(len(sources), len(sources), unit="sources")
    for split, folder in (("train", "prompts"), ("validation", "prompts"), ("final", "final")):
        write_rows(run.outs[folder], split, [row for row in bank.rows if row["split"] == split], PROMPT)
    write_rows(run.outs["prompts"], "decisions", [*bank.decisions, *revoked], DECISION)
    final = [row for row in bank.rows if row["split"] == "final"]
    procedural = {s.name for s in sources if s.is_procedural}
    problems = publish(final, procedural, p.decontamination, run.root, run.outs["prompts"] / "benchmarks")
    withheld = {"revoked_sources": len(revoked)} if revoked else {}
    return metrics(bank) | {"evaluation_problems": problems} | withheld


def similar(p: Params, texts: list[str], run: Run) -> list:
    """Near duplicates among prompts in the order of preference."""
    if p.near_duplicates is None:
        return [None] * len(texts)
    return near_duplicates(texts, p.near_duplicates, run.work, run.threads)


def metrics(bank: Bank) -> dict:
    splits = Counter(row["split"] for row in bank.rows)
    return {
        "rows": len(bank.rows),
        **{split: splits[split] for split in ("train", "validation", "final")},
        "dropped": dict(sorted(Counter(d["rule"] for d in bank.decisions).items())),
        "sources": bank.sources,
        "repeats": bank.repeats,
    }


if __name__ == "__main__":
    stage(body, Params)
