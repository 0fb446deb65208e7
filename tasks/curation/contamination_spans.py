"""Where two texts overlap: the shared n-grams of one pair as spans of characters, for eyes.

Plain Python, for the few pairs that are shown; which pairs overlap is decided by the kernel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.curation.kernel.characters import token_spans

Gram = tuple[str, ...]


@dataclass(frozen=True)
class Token:
    word: str
    start: int  # characters
    end: int


@dataclass(frozen=True)
class Span:
    start: int  # characters
    end: int
    run: int  # spans of the same run mark the same words in both texts


def tokens(text: str) -> list[Token]:
    """The tokens of decontamination, in lower case."""
    return [Token(text[i:j].lower() if text[i].isascii() else text[i:j], i, j) for i, j in token_spans(text)]


def shared_spans(
    a: str, b: str, n: int, counted: Callable[[Sequence[Gram]], Sequence[bool]] | None = None
) -> tuple[list[Span], list[Span]]:
    """The maximal stretches of shared n-grams in `a` and in `b`; texts shorter than n tokens are compared whole.

    `counted` says which n-grams count; those left out as boilerplate are not marked.
    """
    tokens_a, tokens_b = tokens(a), tokens(b)
    n = min(n, len(tokens_a), len(tokens_b))
    if not n:
        return [], []
    grams_a, grams_b = _grams(tokens_a, n), _grams(tokens_b, n)
    shared = sorted(set(grams_a) & set(grams_b))
    if counted and shared:
        shared = [gram for gram, counts in zip(shared, counted(shared), strict=True) if counts]
    shared = set(shared)
    stretches = _stretches(grams_b, shared, n)
    run_of = {gram: run for run, (i, j) in reversed([*enumerate(stretches)]) for gram in grams_b[i : j - n + 2]}
    return (
        [Span(tokens_a[i].start, tokens_a[j].end, run_of[grams_a[i]]) for i, j in _stretches(grams_a, shared, n)],
        [Span(tokens_b[i].start, tokens_b[j].end, run) for run, (i, j) in enumerate(stretches)],
    )


def _grams(words: Sequence[Token], n: int) -> list[Gram]:
    return [tuple(t.word for t in words[i : i + n]) for i in range(len(words) - n + 1)]


def _stretches(grams: Sequence[Gram], shared: set[Gram], n: int) -> list[tuple[int, int]]:
    """(first, last) token of each run of tokens that shared n-grams cover; where these overlap they are one."""
    out: list[tuple[int, int]] = []
    for at, gram in enumerate(grams):
        if gram in shared:
            if out and at <= out[-1][1]:
                out[-1] = (out[-1][0], at + n - 1)
            else:
                out.append((at, at + n - 1))
    return out
