"""Reasoning set: of the candidates of Dev2 only the correct and readable ones (paper 2.3.3, about 600k there).

Correct by verdict; dropped are mixed languages, over-long paragraphs and code blocks, and beyond the paper's list
truncated and malformed responses, exact repeats, and more than `max_per_prompt` of one prompt.
"""

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.curation.examples import example
from tasks.curation.reasoning import filter_candidates
from tasks.prompts.stored import read_prompts
from tasks.provenance.artifacts import checked, write_rows
from tasks.rows import DECISION, SFT_EXAMPLE
from tasks.settings import Settings


class Params(Settings):
    """Section `reasoning` of params.yaml."""

    max_per_prompt: int = Field(
        ge=1, description="examples of one prompt at most, lowest sample index first; not published"
    )
    min_language_share: float = Field(
        ge=0, le=1, description="target-language words of the chain of thought; not published"
    )
    max_paragraph_chars: int = Field(ge=1, description="characters between two empty lines; not published")


def body(p: Params, run: Run) -> dict:
    prompts = {row["id"]: row for row in read_prompts(run.input("prompts"), "train")}
    candidates = pq.read_table(checked(run.input("candidates"), "candidates.parquet"))
    verdicts = pq.read_table(checked(run.input("verdicts"), "verdicts.parquet"))
    languages = {key: row["language"] for key, row in prompts.items()}
    result = filter_candidates(
        candidates, verdicts, languages, p.min_language_share, p.max_paragraph_chars, p.max_per_prompt, run.progress
    )
    kept = candidates.take(pa.array(result.kept, pa.int64())).to_pylist()
    examples = [example(prompts[c["prompt_id"]], c["text"], c["id"], "candidates") for c in kept]
    write_rows(run.out, "examples", examples, SFT_EXAMPLE)
    write_rows(run.out, "decisions", result.decisions.to_pylist(), DECISION)
    return {
        "candidates": candidates.num_rows,
        "kept": len(kept),
        "rejected": candidates.num_rows - len(kept),
        "prompts": len({c["prompt_id"] for c in kept}),
        "funnel": result.funnel,
    }


if __name__ == "__main__":
    stage(body, Params)
