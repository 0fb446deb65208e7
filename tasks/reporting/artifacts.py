"""The recipe's table: one entry per stage of dvc.yaml, its size and what came out, read off the shape of its metrics."""

import re
from collections.abc import Mapping, Sequence

from tasks.reporting.words import count, decimal, measured, percent

_SECTION = re.compile(r"\s*\(((?:paper|N)\b[^()]*)\)\s*$")
_BESIDE = re.compile(r"\s*\([^()]*paper[^()]*\)")
NOT_ARTIFACTS = ("evaluate", "report")


def describe(desc: str) -> tuple[str, str, str]:
    """'Dev1: SFT of the base (paper 2.3.1)' → (artifact, what it does, section)."""
    section = m[1] if (m := _SECTION.search(desc)) else ""
    artifact, _, what = _BESIDE.sub("", _SECTION.sub("", desc)).partition(":")
    return artifact.partition(",")[0].strip(), what.strip(), section.removeprefix("paper").strip().partition(":")[0]


def metrics_key(stage: str) -> str:
    """distill@qwen → distill/qwen, the path of its metrics and plots."""
    return stage.replace("@", "/")


def size(metrics: Mapping) -> str:
    """Rows, pairs or parameters: whichever the artifact is counted in."""
    for key, unit in (("rows", "rows"), ("kept", "rows"), ("parameters", "parameters"), ("candidates", "candidates")):
        if isinstance(metrics.get(key), int):
            return f"{count(metrics[key])} {unit}"
    if isinstance(metrics.get("pairs"), int) and isinstance(metrics.get("labels"), int):
        return f"{count(metrics['pairs'])} pairs, {count(metrics['labels'])} labels"
    return ""


def outcome(metrics: Mapping) -> str:
    """What the stage itself measured, in one line."""
    told = []
    if isinstance(metrics.get("examples"), int):
        told.append(f"{count(metrics['examples'])} examples")
    if "reward_first" in metrics:
        told.append(f"{count(metrics.get('steps'))} steps")
        told.append(f"reward {decimal(metrics['reward_first'], 2)} → {decimal(metrics['reward_last'], 2)}")
        told.append(f"accuracy {percent(metrics['accuracy_first'])} → {percent(metrics['accuracy_last'])} %")
        told.append(f"length {decimal(metrics['length_first'])} → {decimal(metrics['length_last'])}")
    if gate := metrics.get("gate"):
        told.append(
            f"gate: {percent(gate.get('full_cot_accuracy'))} % reasoned against {percent(gate.get('direct_accuracy'))} % guessed"
        )
    if "loss_first" in metrics:
        told.append(f"loss {decimal(metrics['loss_first'], 3)} → {decimal(metrics['loss_last'], 3)}")
    if "final_loss" in metrics:
        told.append(f"loss {decimal(metrics['final_loss'], 3)} after {count(metrics.get('tokens'))} tokens")
    if "accuracy" in metrics:
        told.append(f"accuracy {measured(metrics['accuracy'], metrics.get('accuracy_ci95'))} % on held-out pairs")
    for name in ("helpful", "safe"):
        if isinstance(metrics.get(name), Mapping):
            told.append(f"{name} {measured(metrics[name].get('accuracy'), metrics[name].get('accuracy_ci95'))} %")
    if "kept" in metrics and "rejected" in metrics:
        told.append(f"{count(metrics['kept'])} kept, {count(metrics['rejected'])} rejected")
    for route, r in (metrics.get("routes") or {}).items():
        told.append(f"{count(r.get('kept'))} {route.replace('_', ' ')}")
    if isinstance(metrics.get("prompts"), int) and "candidates" in metrics:
        told.append(f"from {count(metrics['prompts'])} prompts, {count(metrics.get('truncated'))} truncated")
    if isinstance(metrics.get("labelled_by"), list):
        told.append(f"labelled by {', '.join(metrics['labelled_by'])}")
    if metrics.get("agreement") is not None:
        told.append(f"judge agrees with the rules {measured(metrics['agreement'], metrics.get('agreement_ci95'))} %")
    for name, words in (("train", "train"), ("validation", "validation"), ("final", "final"), ("reasoning", "reasoning"),
                        ("non_reasoning", "general"), ("with_cot", "with a CoT")):  # fmt: skip
        if isinstance(metrics.get(name), int):
            told.append(f"{count(metrics[name])} {words}")
    return ", ".join(told)


def rows(stages: Sequence[Mapping], metrics: Mapping[str, Mapping], models: Sequence[Mapping]) -> list[dict]:
    """One row per stage: artifact, paper section, size, outcome, and the evaluation of the checkpoint it made."""
    by_folder = {m["checkpoint"]: m for m in models}
    table = []
    for s in stages:
        if s["name"] in NOT_ARTIFACTS:
            continue
        found = metrics.get(metrics_key(s["stage"]), {})
        artifact, what, section = describe(s.get("desc", ""))
        model = next((by_folder[o] for o in s["outs"] if o in by_folder), None)
        entry = {"stage": s["stage"], "artifact": artifact or s["name"], "what": what, "paper": section}
        if s.get("item"):
            entry["artifact"] = f"{entry['artifact'].removeprefix('A ').capitalize()}: {s['item']}"
        entry |= {"size": size(found), "outcome": outcome(found), "model": model["model"] if model else None}
        if model and model.get("parameters"):
            entry["size"] = f"{count(model['parameters'])} parameters"
        table.append(entry)
    return table
