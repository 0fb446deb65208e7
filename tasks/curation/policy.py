"""A curation policy: every rule and threshold by which candidates become a training set.

`null` turns a rule off. A policy is a YAML file (`recipes/selection/*.yaml`) or a section of params.yaml.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from tasks.curation.errors import CurationError
from tasks.curation.selection_policy import Selection
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
    refused_openings: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="openings of the summary that mark a refusal or boilerplate, any case"
    )


class Deduplication(Settings):
    """Equal and nearly equal texts; the thresholds are exact Jaccard similarities of the sets of token n-grams."""

    exact: bool = Field(True, description="equal texts, byte by byte, then equal after normalisation; across prompts too")
    exact_scope: Literal["prompt", "all"] = Field("all", description="among the candidates of a prompt, or all")
    within_prompt: float | None = Field(None, gt=0, le=1, description="Jaccard among candidates of one prompt")
    across_prompts: float | None = Field(None, gt=0, le=1, description="Jaccard between candidates of different prompts")
    shingle: int = Field(5, ge=1, description="n, tokens of an n-gram; shorter texts are compared by their hash alone")
    permutations: int = Field(128, ge=16, le=1024, description="MinHash values of a text")
    prefer: Literal["shortest", "longest", "first"] = Field(
        "first", description="which of equals is kept, after those that pass every other rule; then by sample index, id"
    )
    embedding: str | None = Field(None, description="folder of a local sentence-embedding model; null: none")
    embedding_similarity: float = Field(0.95, gt=0, le=1, description="cosine similarity, where a model is given")

    @property
    def active(self) -> bool:
        """Whether anything is compared at all."""
        return self.exact or any(x is not None for x in (self.within_prompt, self.across_prompts, self.embedding))


class Benchmark(Settings):
    """An evaluation set that training data must not contain."""

    name: str = Field(description="its name in evidence and reports")
    path: str = Field(description="file, directory or glob, or a published index (a folder with grams.parquet)")
    text: str = Field("text", description="column with the problem; dots reach into nested values")
    columns: tuple[str, ...] | None = Field(None, description="names of the columns, for CSV files without a header line")
    limit: int | None = Field(None, ge=1)


class Decontamination(Settings):
    """Overlap with evaluation sets (paper, S: 10-grams; here 8 for prompts, 13 with coverage for chains of thought)."""

    against: tuple[Benchmark, ...] = ()
    prompt_exact: bool = Field(True, description="equal but for case, spacing, punctuation; the one rule for short prompts")
    prompt_ngram: int | None = Field(8, ge=3, description="tokens, for prompts")
    prompt_coverage: float = Field(
        0.3, ge=0, le=1, description="share of a problem's n-grams found in one prompt; 0: any shared n-gram rejects"
    )
    text_ngram: int | None = Field(13, ge=3, description="tokens, for chains of thought")
    text_coverage: float = Field(0.5, gt=0, le=1, description="share of a problem's n-grams found in one text")
    max_document_frequency: int | None = Field(
        10, ge=1, description="n-grams in more problems than this are boilerplate and prove nothing"
    )


class Policy(Settings):
    """All of it, in the order in which the funnel counts."""

    filters: Filters = Filters()
    deduplication: Deduplication = Deduplication()
    decontamination: Decontamination = Decontamination()
    selection: Selection = Selection()


def load_policy(name: str | Path, folder: Path) -> Policy:
    """A policy by its name in `folder`, or by the path of its file; CurationError names what is wrong with it."""
    import yaml

    path = Path(name) if Path(name).is_file() else Path(folder) / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in Path(folder).glob("*.yaml"))
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise CurationError(f"no policy {str(name)!r}: {hint}it is a file or one of {', '.join(known)} (in {folder})")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CurationError(f"{path} is no valid YAML: {error}") from None
    try:
        return Policy.model_validate({} if values is None else values)
    except ValidationError as error:
        raise CurationError("\n".join(f"{path}: {line}" for line in map(_explained, error.errors()))) from None


def _explained(error: dict[str, Any]) -> str:
    """What is wrong under which key, and what was meant where that can be guessed."""
    key = ".".join(map(str, error["loc"])) or "(top level)"
    if error["type"] != "extra_forbidden":
        found = "" if isinstance(error["input"], dict) else f", found {error['input']!r}"
        return f"{key}: {error['msg'].removeprefix('Value error, ')}{found}"
    known = sorted(_fields(Policy, error["loc"][:-1]))
    near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
    return f"{key}: unknown key; {f'did you mean {near[0]}? ' if near else ''}allowed here: {', '.join(known)}"


def _fields(model: type[BaseModel], loc: tuple) -> set[str]:
    """Keys allowed at `loc`; positions in a list are stepped over."""
    for key in loc:
        field = model.model_fields.get(key) if isinstance(key, str) else None
        candidates = (field.annotation, *getattr(field.annotation, "__args__", ())) if field else ()
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return set(model.model_fields)
