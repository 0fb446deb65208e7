"""SFT set: the union of reasoning and non-reasoning set, which trains Dev3 and the students (paper 2.3.3, 800k).

Rows longer than the training context are left out, never cut: half a chain of thought teaches not to finish.
"""

from pathlib import Path

from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.curation.examples import read_examples
from tasks.curation.union import by_domain, join
from tasks.prompts.templates import render
from tasks.provenance.artifacts import write_rows
from tasks.rows import DECISION, SFT_EXAMPLE
from tasks.settings import Settings
from tasks.training.tokenizer import load_tokenizer


class Params(Settings):
    """Section `sft_data` of params.yaml."""

    max_tokens: int = Field(
        ge=16, description="tokens of prompt, response and end of sequence, by the base's tokenizer; paper: 32,768"
    )


def token_lengths(tokenizer_folder: Path, template: str, rows: list[dict]) -> list[int]:
    """Tokens of every row as it is trained on: template, response, end of sequence."""
    if not rows:
        return []
    tokenizer = load_tokenizer(tokenizer_folder)
    texts = [render(template, row["prompt"]) + row["response"] for row in rows]
    return [len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def body(p: Params, run: Run) -> dict:
    parts = [read_examples(run.input(name)) for name in ("reasoning", "non_reasoning")]
    rows, decisions, lengths = join(
        parts, lambda rows: token_lengths(run.input("base"), run.template, rows), p.max_tokens
    )
    sampled = sum(row["completion_id"] is not None for row in rows)
    write_rows(run.out, "examples", rows, SFT_EXAMPLE)
    write_rows(run.out, "decisions", decisions, DECISION)
    return {
        "rows": len(rows),
        "reasoning": sampled,
        "non_reasoning": len(rows) - sampled,
        "domains": by_domain(rows, lengths),
        "left_out": len(decisions) - len(rows),
    }


if __name__ == "__main__":
    stage(body, Params)
