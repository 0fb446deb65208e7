"""Non-reasoning set: writing, factual QA, self-cognition, translation (paper 2.3.3, about 200k there).

Some rows have a chain of thought before the answer, simple queries ("hello") have none: as the source gives them.
The paper reuses DeepSeek-V3's SFT data, which is not published; here the response is the source's reference.
"""

from collections import Counter

from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.curation.union import HAS_COT, draw
from tasks.prompts.stored import read_prompts
from tasks.provenance.artifacts import ArtifactError, write_rows
from tasks.rows import DECISION, SFT_EXAMPLE
from tasks.settings import Settings


class Params(Settings):
    """Section `non_reasoning` of params.yaml."""

    sources: list[str] = Field(min_length=1, description="sources of `prompts`; their training prompts with a solution")
    rows: int = Field(ge=1, description="examples; a small source is used several times over. Paper: about 200,000")


def body(p: Params, run: Run) -> dict:
    rows = read_prompts(run.input("prompts"), "train")
    prompts = [row for row in rows if row["source"] in p.sources]
    if missing := sorted(set(p.sources) - {row["source"] for row in prompts}):
        raise ArtifactError(
            f"non_reasoning.sources: no training prompt of {missing[0]!r}; there are {sorted({r['source'] for r in rows})}"
        )
    examples, decisions = draw(prompts, p.rows, run.seed)
    if not examples:
        raise ArtifactError(
            f"non_reasoning: no prompt of {', '.join(p.sources)} has a solution; set `columns.solution` of the source"
        )
    write_rows(run.out, "examples", examples, SFT_EXAMPLE)
    write_rows(run.out, "decisions", decisions, DECISION)
    return {
        "rows": len(examples),
        "domains": dict(sorted(Counter(row["domain"] for row in examples).items())),
        "with_cot": sum(HAS_COT in row["response"] for row in examples),
        "prompts": len(prompts),
        "prompts_used": sum(d["keep"] for d in decisions),
    }


if __name__ == "__main__":
    stage(body, Params)
