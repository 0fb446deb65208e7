"""Preference data: pairs for helpfulness and pointwise labels for safety (paper 2.3.4; N, Methods).

Three routes, named in every row's `labelled_by`:
- `procedural-oracle`: the general family knows a good response and faulty ones to each of its prompts;
- `dataset:<name>`: human labels, transcripts in the format of Anthropic's hh-rlhf;
- `judge:<model>`: a model scores two responses several times with positions swapped at random; pairs above a gap stay.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations, islice
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from tasks.prompts.readers import SourceError, find_files, read, read_hub, shown
from tasks.prompts.split import position
from tasks.provenance.artifacts import sha256
from tasks.rows import derive_seed, row_id
from tasks.settings import Settings

TURN = "\n\nAssistant:"
ORACLE = "procedural-oracle"
Score = Callable[[list[tuple[str, str, str]]], list[tuple[float, float] | None]]
"""(question, first response, second response) -> scores of both, None where the judge said nothing that counts."""


class PreferenceSource(Settings):
    """One source of preference data."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", description="its name in `labelled_by` and the metrics")
    family: Literal["general"] | None = Field(None, description="the procedural oracle, on prompts of the bank")
    path: str | None = Field(None, description="file, directory or glob, relative to the repository root")
    hub: str | None = Field(None, description="data set on the Hub")
    format: Literal["hh", "responses"] = Field(
        "hh", description="hh: transcripts `chosen`, `rejected`; responses: `prompt`, `responses`, for a judge"
    )
    licence: str | None = Field(None, description="for path and hub")
    gives: Literal["both", "pairs", "labels"] = Field(
        "both", description="pairs for helpfulness, safe/unsafe labels, or both"
    )
    limit: int | None = Field(None, ge=1, description="first rows to read; null: all")
    balance_lengths: bool = Field(
        False, description="as many pairs with the longer response chosen as rejected; paper: lengths balanced"
    )
    judge: str | None = Field(None, description="checkpoint folder of the judge, for format `responses`")
    judge_runs: int = Field(4, ge=1, description="scorings of a pair, positions swapped at random; paper: 4")
    min_gap: float = Field(1.0, ge=0, description="mean score gap that a pair must exceed; paper: 1")
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$", description="commit on the Hub")
    subset: str | None = Field(None, description="configuration of the data set on the Hub")
    hub_split: str = Field("train", description="split of the data set on the Hub")

    @model_validator(mode="after")
    def _consistent(self):
        kinds = [k for k in ("family", "path", "hub") if getattr(self, k) is not None]
        if len(kinds) != 1:
            raise ValueError(f"source {self.name}: give exactly one of family, path, hub; found {kinds or 'none'}")
        if not self.family and not self.licence:
            raise ValueError(f"source {self.name}: give the licence of {self.path or self.hub}")
        if self.hub and not self.revision:
            raise ValueError(
                f"source {self.name}: `hub` needs `revision`, the 40 hex digits of a commit: a branch moves"
            )
        if (self.format == "responses") != (self.judge is not None):
            raise ValueError(f"source {self.name}: format `responses` and `judge` go together")
        return self


@dataclass
class Preferences:
    """Pairs, labels, and a decision for every row that became neither."""

    pairs: list[dict] = field(default_factory=list)
    labels: list[dict] = field(default_factory=list)
    decisions: list[dict] = field(default_factory=list)
    rows: int = 0  # that entered: rows of a file, or pairs of responses
    files: dict[str, str] = field(default_factory=dict)  # path -> sha256

    def reject(self, name: str, origin: str, rule: str, evidence: str, value=None, threshold=None) -> None:
        self.decisions.append(
            {"row_id": row_id("row", source=name, origin=origin), "stage": "preferences", "rule": rule, "value": value,
             "threshold": threshold, "keep": False, "evidence": f"{name} {origin}: {evidence}"}
        )  # fmt: skip


def held_out(prompt: str, share: float) -> str:
    """ "held_out" or "train", by the prompt's content, independent of the prompt bank's own split."""
    return "held_out" if position(f"held out: {prompt}") < share else "train"


def pair(
    prompt_id: str, prompt: str, chosen: str, rejected: str, fault: str, gap: float, by: str, share: float
) -> dict:
    """A PREFERENCE_PAIR row."""
    return {
        "id": row_id("pair", prompt=prompt, chosen=chosen, rejected=rejected, by=by), "prompt_id": prompt_id,
        "split": held_out(prompt, share), "prompt": prompt, "chosen": chosen, "rejected": rejected, "fault": fault,
        "gap": gap, "labelled_by": by,
    }  # fmt: skip


def label(prompt_id: str, prompt: str, response: str, safe: bool, by: str, share: float) -> dict:
    """A SAFETY_LABEL row."""
    return {
        "id": row_id("label", prompt=prompt, response=response, by=by), "prompt_id": prompt_id,
        "split": held_out(prompt, share), "prompt": prompt, "response": response, "safe": safe, "labelled_by": by,
    }  # fmt: skip


def from_oracle(prompts: list[dict], share: float) -> Preferences:
    """Pairs and labels of the general family, on those of its prompts that are in `prompts` (PROMPT rows).

    A prompt belongs to helpfulness or to safety (N). Helpfulness sees final summaries alone, safety whole responses:
    each safety prompt gives a refusal and an unsafe answer, both with and without the chain of thought.
    """
    from tasks.prompts.general import items

    known = {item.text: item for item in items()}
    out = Preferences()
    for prompt in prompts:
        item = known.get(prompt["text"])
        if item is None:
            continue
        out.rows += 1
        if item.domain == "safety":
            for text, safe in ((item.good, True), (item.faulty["unsafe"], False)):
                whole = f"<think> {item.cot} </think> {text}"
                out.labels += [label(prompt["id"], item.text, t, safe, ORACLE, share) for t in (text, whole)]
        else:
            for fault, bad in item.faulty.items():
                out.pairs.append(pair(prompt["id"], item.text, item.good, bad, fault, 1.0, ORACLE, share))
    if not out.rows:
        raise SourceError(
            "the prompt bank holds no prompt of the general family: add {name: general, family: general, …} to prompts.sources"
        )
    return out


def read_preference_rows(source: PreferenceSource, root: Path) -> tuple[list[tuple[str, dict]], dict[str, str]]:
    """((origin, row), …) of a path or Hub source, and the sha256 of its files."""
    if source.hub:
        rows, files = read_hub(root, source.hub, source.subset, source.hub_split, source.revision), {}
    else:
        paths = find_files(root, source.path)
        files = {shown(root, path): sha256(path) for path in paths}
        rows = (row for path in paths for row in read(path, shown(root, path)))
    found = list(islice(rows, source.limit))
    if not found:
        raise SourceError(f"preference source {source.name}: is empty")
    needed = ("chosen", "rejected") if source.format == "hh" else ("prompt", "responses")
    for origin, row in found:
        if missing := [c for c in needed if c not in row]:
            raise SourceError(
                f"preference source {source.name}: {origin} has no column {missing[0]!r}; there is: {', '.join(row)}"
            )
    return found, files


def from_transcripts(name: str, rows: Iterable[tuple[str, dict]], share: float) -> Preferences:
    """Pairs, and labels (chosen safe, rejected unsafe), of hh-rlhf transcripts that differ in the last turn alone."""
    out, by = Preferences(), f"dataset:{name}"
    seen: dict[str, str] = {}
    for origin, row in rows:
        out.rows += 1
        prompt, _, chosen = row["chosen"].rpartition(TURN)
        other, _, rejected = row["rejected"].rpartition(TURN)
        prompt, chosen, rejected = prompt.strip(), chosen.strip(), rejected.strip()
        if not prompt or prompt != other.strip():
            out.reject(
                name, origin, "transcripts_differ", "the two transcripts differ before the last turn, or have none"
            )
        elif not chosen or not rejected:
            out.reject(name, origin, "empty_response", f"{'chosen' if not chosen else 'rejected'} is empty")
        elif chosen == rejected:
            out.reject(name, origin, "same_response", "chosen and rejected are equal")
        else:
            prompt_id = row_id("prompt", source=name, text=prompt)
            made = pair(prompt_id, prompt, chosen, rejected, "judged", 1.0, by, share)
            if (first := seen.setdefault(made["id"], origin)) != origin:
                out.reject(name, origin, "duplicate", f"same pair as {first}, which is kept")
                continue
            out.pairs.append(made)
            out.labels += [
                label(prompt_id, prompt, text, safe, by, share) for text, safe in ((chosen, True), (rejected, False))
            ]
    return out


def from_judge(
    source: PreferenceSource, rows: list[tuple[str, dict]], score: Score, model: str, seed: int, share: float
) -> Preferences:
    """Pairs of responses that a judge tells apart: mean score gap over `judge_runs` scorings above `min_gap`."""
    out, by = Preferences(), f"judge:{model}"
    asked, questions = [], []
    for origin, row in rows:
        for i, j in combinations(range(len(row["responses"])), 2):
            name = f"{origin} responses {i},{j}"
            rng = random.Random(derive_seed(seed, source.name, name))
            asked.append(
                (
                    name,
                    row["prompt"],
                    row["responses"][i],
                    row["responses"][j],
                    [rng.random() < 0.5 for _ in range(source.judge_runs)],
                )
            )
    for _, prompt, a, b, swaps in asked:
        questions += [(prompt, b, a) if swap else (prompt, a, b) for swap in swaps]
    scores = iter(score(questions))
    for name, prompt, a, b, swaps in asked:
        out.rows += 1
        got = [(s[::-1] if swap else s) for swap in swaps if (s := next(scores)) is not None]
        if not got:
            out.reject(source.name, name, "no_score", f"the judge gave no score in {len(swaps)} runs")
            continue
        gap = sum(x - y for x, y in got) / len(got)
        if abs(gap) <= source.min_gap:
            out.reject(source.name, name, "gap", f"mean gap {gap:.3f} over {len(got)} runs", abs(gap), source.min_gap)
            continue
        chosen, rejected = (a, b) if gap > 0 else (b, a)
        prompt_id = row_id("prompt", source=source.name, text=prompt)
        out.pairs.append(pair(prompt_id, prompt, chosen, rejected, "judged", abs(gap), by, share))
    return out


def balance(data: Preferences, name: str) -> None:
    """Drop pairs until as many have the longer response chosen as rejected: a reward model must not learn length."""
    longer = [p for p in data.pairs if len(p["chosen"]) > len(p["rejected"])]
    shorter = [p for p in data.pairs if len(p["chosen"]) < len(p["rejected"])]
    more, count = (longer, len(shorter)) if len(longer) > len(shorter) else (shorter, len(longer))
    dropped = {p["id"] for p in sorted(more, key=lambda p: p["id"])[count:]}
    for p in data.pairs:
        if p["id"] in dropped:
            side = "longer" if more is longer else "shorter"
            data.reject(
                name,
                p["id"],
                "length_balance",
                f"one of {len(more)} pairs whose {side} response is chosen, against {count}",
            )
    data.pairs = [p for p in data.pairs if p["id"] not in dropped]
