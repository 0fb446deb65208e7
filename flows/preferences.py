"""Preference data for the reward models: helpfulness in pairs, safety pointwise (paper 2.3.4; N: 66k and 106k rows).

The paper's judge scores each pair four times with positions swapped and keeps gaps above 1, lengths balanced: the
`responses` route does that with any judge. At `cpu` no model can judge helpfulness, so the labels come from a
procedural oracle and say so; human labels (hh-rlhf) run through the same stage.
"""

import re
from collections import Counter
from pathlib import Path

from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.prompts.preferences import (
    Preferences,
    PreferenceSource,
    Score,
    balance,
    from_judge,
    from_oracle,
    from_transcripts,
    read_preference_rows,
)  # fmt: skip
from tasks.prompts.revoked import read_tombstones, standing
from tasks.prompts.stored import read_prompts
from tasks.prompts.templates import render
from tasks.provenance.artifacts import ArtifactError, write_rows
from tasks.rows import DECISION, PREFERENCE_PAIR, SAFETY_LABEL
from tasks.settings import Settings

QUESTION = (
    "Question: {question}\nResponse A: {first}\nResponse B: {second}\n"
    "Score the helpfulness of both responses from 1 to 10. Reply with `A: <score> B: <score>` and nothing else."
)
_SCORES = re.compile(r"A:\s*(\d+(?:\.\d+)?)\D+?B:\s*(\d+(?:\.\d+)?)")
REPLY_TOKENS = 16


class Params(Settings):
    """Section `preferences` of params.yaml."""

    sources: list[PreferenceSource] = Field(min_length=1)
    held_out_share: float = Field(
        0.2, ge=0, lt=1, description="prompts kept from training, by content hash; not published"
    )


def judge_scores(folder: Path, template: str, seed: int) -> tuple[Score, str]:
    """The scoring callable around a checkpoint, and the model's name."""
    from tasks.sampling.policy import load_policy
    from tasks.sampling.transformers_engine import sample

    policy = load_policy(folder)

    def score(questions: list[tuple[str, str, str]]) -> list[tuple[float, float] | None]:
        texts = [render(template, QUESTION.format(question=q, first=a, second=b)) for q, a, b in questions]
        replies = sample(policy, texts, 1, 1.0, 1.0, REPLY_TOKENS, seed)
        found = [_SCORES.search(reply[0].text) for reply in replies]
        return [(float(m[1]), float(m[2])) if m else None for m in found]

    return score, policy.sha[:16]


def collect(source: PreferenceSource, share: float, run: Run) -> Preferences:
    """Everything one source gives, length-balanced where it asks for that."""
    if source.family:
        data = from_oracle(read_prompts(run.input("prompts"), "train", "validation"), share)
    else:
        rows, files = read_preference_rows(source, run.root)
        if source.format == "hh":
            data = from_transcripts(source.name, rows, share)
        else:
            score, model = judge_scores(run.root / source.judge, run.template, run.seed)
            data = from_judge(source, rows, score, model, run.seed, share)
        data.files = files
        if len(data.pairs) + len(data.decisions) != data.rows:
            raise AssertionError(
                f"{source.name}: {data.rows} rows in, {len(data.pairs)} pairs + {len(data.decisions)} rejected"
            )
    if source.balance_lengths:
        balance(data, source.name)
    return data


def body(p: Params, run: Run) -> dict:
    left, revoked = standing(p.sources, read_tombstones(run.input("revoked/preferences.jsonl")), run.stage)
    pairs, labels, decisions, sources = [], [], revoked, {}
    for i, source in enumerate(left):
        run.progress(i, len(left), unit="sources", note=source.name)
        data = collect(source, p.held_out_share, run)
        pairs += data.pairs if source.gives != "labels" else []
        labels += data.labels if source.gives != "pairs" else []
        decisions += data.decisions
        dropped = Counter(d["rule"] for d in data.decisions)
        sources[source.name] = {"rows": data.rows, "dropped": dict(sorted(dropped.items())), "sha256": data.files}
    need_both(pairs, labels)
    write_rows(run.out, "pairs", pairs, PREFERENCE_PAIR)
    write_rows(run.out, "labels", labels, SAFETY_LABEL)
    write_rows(run.out, "decisions", decisions, DECISION)
    return {
        "pairs": len(pairs),
        "labels": len(labels),
        "held_out": {
            kind: sum(r["split"] == "held_out" for r in rows) for kind, rows in (("pairs", pairs), ("labels", labels))
        },
        "unsafe": sum(not r["safe"] for r in labels),
        "faults": dict(sorted(Counter(r["fault"] for r in pairs).items())),
        "labelled_by": sorted({r["labelled_by"] for r in (*pairs, *labels)}),
        "sources": sources,
    }


def need_both(pairs: list[dict], labels: list[dict]) -> None:
    """The reward models need training and held-out rows of both kinds."""
    for kind, rows in (("pairs", pairs), ("labels", labels)):
        for split in ("train", "held_out"):
            if not any(r["split"] == split for r in rows):
                raise ArtifactError(
                    f"preferences: no {kind} in {split}: add a source that gives {kind}, or change held_out_share"
                )


if __name__ == "__main__":
    stage(body, Params)
