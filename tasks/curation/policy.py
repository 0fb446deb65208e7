"""A curation policy: every rule and threshold by which candidates become a training set.

`null` turns a rule off. A policy is a YAML file (`recipes/selection/*.yaml`) or a section of params.yaml.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.settings import Settings


class Filters(Settings):
    """Rules on one candidate by itself (paper 2.3.3: mixed languages, long paragraphs, code blocks)."""

    min_language_share: float | None = Field(
        None, ge=0, le=1, description="target-language words among all words of the chain of thought"
    )
    max_paragraph_chars: int | None = Field(None, ge=1, description="code points between two empty lines")
    max_code_fences: int | None = Field(None, ge=0, description="``` in the chain of thought")
    well_formed: bool = Field(False, description="one closed think block, then one answer tag")
    thought: bool = Field(False, description="a closed, non-empty think block; the answer may have any form")
    complete: bool = Field(False, description="not cut off at the token limit")
    min_tokens: int | None = Field(None, ge=1, description="the kernel's tokens, see tasks/curation/kernel")
    max_tokens: int | None = Field(None, ge=1, description="the kernel's tokens")
    max_repeated_ngrams: float | None = Field(
        None, ge=0, le=1, description="share of token n-grams that repeat an earlier one of the same text"
    )
    max_repeated_paragraphs: float | None = Field(
        None, ge=0, le=1, description="share of code points in paragraphs that repeat an earlier one"
    )
    refused_openings: tuple[str, ...] = Field(
        (), description="openings of the summary that mark a refusal or boilerplate, any case"
    )


class Deduplication(Settings):
    """Equal and nearly equal texts; the thresholds are exact Jaccard similarities of the sets of token n-grams."""

    exact: bool = Field(True, description="equal texts, byte by byte, then equal after normalisation; across prompts too")
    exact_scope: Literal["prompt", "all"] = Field("all", description="among the candidates of a prompt, or all")
    within_prompt: float | None = Field(None, gt=0, le=1, description="Jaccard among candidates of one prompt")
    across_prompts: float | None = Field(None, gt=0, le=1, description="Jaccard between candidates of different prompts")
    shingle: int = Field(5, ge=1, description="n, tokens of an n-gram; shorter texts are compared by their hash alone")
    permutations: int = Field(128, ge=16, description="MinHash values of a text")
    prefer: Literal["shortest", "longest", "first"] = Field(
        "first", description="which of equals is kept, after those that pass every other rule; then by sample index, id"
    )
    embedding: str | None = Field(None, description="folder of a local sentence-embedding model; null: none")
    embedding_similarity: float = Field(0.95, gt=0, le=1, description="cosine similarity, where a model is given")


class Benchmark(Settings):
    """An evaluation set that training data must not contain."""

    name: str = Field(description="its name in evidence and reports")
    path: str = Field(description="file, directory or glob, or a published index (a folder with grams.parquet)")
    text: str = Field("text", description="column with the problem; dots reach into nested values")
    limit: int | None = Field(None, ge=1)


class Decontamination(Settings):
    """Overlap with evaluation sets (paper, S: 10-grams; here 8 for prompts, 13 with coverage for chains of thought)."""

    against: tuple[Benchmark, ...] = ()
    prompt_ngram: int | None = Field(8, ge=3, description="tokens; one shared n-gram rejects the prompt")
    prompt_exact: bool = Field(True, description="equal after normalisation; the one rule for prompts shorter than n")
    text_ngram: int | None = Field(13, ge=3, description="tokens, for chains of thought")
    text_coverage: float = Field(0.5, gt=0, le=1, description="share of a problem's n-grams found in one text")
    max_document_frequency: int | None = Field(
        10, ge=1, description="n-grams in more problems than this are boilerplate and prove nothing"
    )


class Selection(Settings):
    """Which of the passing candidates are taken; see tasks/curation/selection.sql."""

    verdict: tuple[str, ...] | None = Field(("ok",), description="statuses accepted; null: no verdict is needed")
    min_pass_rate: float | None = Field(None, ge=0, le=1, description="of the prompt's candidates; below: too hard")
    max_pass_rate: float | None = Field(None, ge=0, le=1, description="of the prompt's candidates; above: too easy")
    per_prompt: int | None = Field(None, ge=1, description="candidates of one prompt at most")
    per_prompt_order: Literal["index", "shortest", "longest", "id"] = "index"


class Policy(Settings):
    """All of it, in the order in which the funnel counts."""

    filters: Filters = Filters()
    deduplication: Deduplication = Deduplication()
    decontamination: Decontamination = Decontamination()
    selection: Selection = Selection()


def load_policy(name: str | Path, folder: Path) -> Policy:
    """A policy by its name in `folder`, or by the path of its file."""
    raise NotImplementedError  # TODO owner PLANE
