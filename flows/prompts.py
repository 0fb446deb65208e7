"""Prompt bank: every question of the recipe, with its gold, its licence and where it came from (paper 2.2.4, S).

Maths, logic and general prompts from files, the Hub and procedural families; exact duplicates out, golds checked to
parse, split by content hash. The final split is published apart: only `evaluate` reads it. We depart from the paper
in scale and in sources: its prompts are not published.
"""

from collections import Counter

from pydantic import Field, model_validator

from flows.orchestration.stage import Run, stage
from tasks.prompts.bank import Bank, build
from tasks.prompts.sources import Source, read_source
from tasks.prompts.split import HELD_OUT
from tasks.provenance.artifacts import write_rows
from tasks.rows import DECISION, PROMPT
from tasks.settings import Settings
from tasks.verification.verify import gold_problems


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
    readings = []
    for i, source in enumerate(p.sources):
        run.progress(i, len(p.sources), unit="sources", note=source.name)
        readings.append(read_source(source, run.root, run.root_seed))
    bank = build(readings, gold_problems, p.validation_share, p.final_share, p.max_prompt_tokens, p.max_duplicate_share)
    run.progress(len(p.sources), len(p.sources), unit="sources")
    for split, folder in (("train", "prompts"), ("validation", "prompts"), ("final", "final")):
        write_rows(run.outs[folder], split, [row for row in bank.rows if row["split"] == split], PROMPT)
    write_rows(run.outs["prompts"], "decisions", bank.decisions, DECISION)
    return metrics(bank)


def metrics(bank: Bank) -> dict:
    splits = Counter(row["split"] for row in bank.rows)
    return {
        "rows": len(bank.rows),
        **{split: splits[split] for split in ("train", "validation", "final")},
        "dropped": dict(sorted(Counter(d["rule"] for d in bank.decisions).items())),
        "sources": bank.sources,
    }


if __name__ == "__main__":
    stage(body, Params)
