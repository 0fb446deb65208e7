"""The two halves of the SFT set: drawing the non-reasoning rows, and joining both under a length limit."""

import random
from collections import defaultdict
from collections.abc import Callable

from tasks.curation.examples import example
from tasks.rows import derive_seed, row_id

HAS_COT = "<think>"


def draw(prompts: list[dict], rows: int, seed: int) -> tuple[list[dict], list[dict]]:
    """(`rows` SFT examples, a decision for every prompt): response = the prompt's reference solution.

    Prompts are dealt in rounds, each round all of them in a seeded order of its own, so that no prompt appears twice
    before every other appeared once, whatever the number of rows.
    """
    usable = sorted((p for p in prompts if (p["solution"] or "").strip()), key=lambda p: p["id"])
    examples: list[dict] = []
    used: dict[str, int] = defaultdict(int)
    while usable and len(examples) < rows:
        copy = len(examples) // len(usable)
        order = random.Random(derive_seed(seed, "round", copy)).sample(usable, len(usable))
        for prompt in order[: rows - len(examples)]:
            row = example(prompt, prompt["solution"])
            if copy:  # the same content again: its id says which copy it is
                row["id"] = row_id("example", of=row["id"], copy=copy)
            examples.append(row)
            used[prompt["id"]] += 1
    return examples, [_use(p, used[p["id"]]) for p in prompts]


def _use(prompt: dict, times: int) -> dict:
    if (prompt["solution"] or "").strip():
        rule, why = "drawn", f"used {times} times" if times else "not drawn: there are more prompts than rows"
    else:
        rule, why = "has_response", "the source gives no reference response"
    return {"row_id": prompt["id"], "stage": "non_reasoning", "rule": rule, "value": float(times), "threshold": 1.0,
            "keep": times > 0, "evidence": why}  # fmt: skip


def join(parts: list[list[dict]], length: Callable[[list[dict]], list[int]], max_tokens: int):
    """(kept examples, a decision for every row, token length of every kept row) of the union, in the order given."""
    rows = [row for part in parts for row in part]
    if len({row["id"] for row in rows}) != len(rows):
        raise ValueError("two SFT examples have the same id: a set was joined with itself")
    lengths = length(rows)
    decisions = [
        {"row_id": row["id"], "stage": "sft_data", "rule": "max_tokens", "value": float(n), "threshold": float(max_tokens),
         "keep": n <= max_tokens, "evidence": None}
        for row, n in zip(rows, lengths, strict=True)
    ]  # fmt: skip
    kept = [(row, n) for row, n in zip(rows, lengths) if n <= max_tokens]
    return [row for row, _ in kept], decisions, [n for _, n in kept]


def by_domain(rows: list[dict], lengths: list[int]) -> dict[str, dict]:
    """Rows and token lengths of each domain, as in the paper's table of its 800k."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, n in zip(rows, lengths, strict=True):
        groups[row["domain"]].append(n)
    return {
        d: {"rows": len(n), "mean_tokens": sum(n) / len(n), "max_tokens": max(n)} for d, n in sorted(groups.items())
    }
