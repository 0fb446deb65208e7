"""The kernel: everything that curation wants to know of a text, in one compiled scan."""

from tasks.curation.kernel.characters import normalised, token_spans
from tasks.curation.kernel.grams import GramIndex
from tasks.curation.kernel.measures import (
    Spec,
    banding,
    exact_hash,
    jaccard,
    measure,
    normal_hash,
    schema,
    shingle_sets,
    sketch,
)

__all__ = [
    "GramIndex", "Spec", "banding", "exact_hash", "jaccard", "measure", "normal_hash", "normalised", "schema",
    "shingle_sets", "sketch", "token_spans",
]  # fmt: skip
