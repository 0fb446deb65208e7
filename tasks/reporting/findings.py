"""Sentences and comparisons of the report, generated from the numbers: nothing here knows how a run went."""

from collections.abc import Callable, Mapping, Sequence

from tasks.reporting.roles import Role, of_stage
from tasks.reporting.words import comparison, decimal, interval, measured, percent, points

Paired = Callable[[str, str], dict]  # models a, b → paired difference of pass@1, a − b
STAGE_PAIRS = (
    ("r1", "r1_zero"),
    ("dev1", "r1_zero"),
    ("dev2", "dev1"),
    ("dev3", "dev2"),
    ("r1", "dev3"),
    ("r1_zero", "base"),
)


def differences(roles: Sequence[Role], paired: Paired) -> list[dict]:
    """Paired differences between the stages of the recipe that were evaluated."""
    found = []
    for first, second in STAGE_PAIRS:
        a, b = of_stage(roles, first), of_stage(roles, second)
        if a and b:
            found.append(_difference(a, b, paired))
    return found


def _difference(a: Role, b: Role, paired: Paired) -> dict:
    diff = paired(a.model, b.model)
    return {
        "a": a.model,
        "b": b.model,
        "label": f"{a.label} − {b.label}",
        **diff,
        "reading": comparison(a.label, b.label, diff),
    }


def _learned(role: Role, base: Role | None, paired: Paired) -> list[dict]:
    if base is None:
        return []
    diff = _difference(role, base, paired)
    if diff["ci95"][0] <= 0:
        diff["reading"] = (
            f"{role.label} did not learn: against its own base {points(diff['difference'])} points "
            f"{interval(diff['ci95'], signed=True)}."
        )
    return [diff]


def students(roles: Sequence[Role], paired: Paired) -> list[dict]:
    """Per student: its base, distilled, control and RL-only versions, and what their paired differences allow to be said."""
    found = []
    items = [r.item for r in roles if r.stage == "distill" and not r.item.endswith("-control")]
    for item in items:
        versions = {
            "base": of_stage(roles, "student_base", item),
            "distilled": of_stage(roles, "distill", item),
            "control": of_stage(roles, "distill", f"{item}-control"),
            "rl": of_stage(roles, "student_rl", item),
        }
        told = [
            d
            for kind in ("distilled", "control", "rl")
            if versions[kind]
            for d in _learned(versions[kind], versions["base"], paired)
        ]
        for a, b in (("distilled", "rl"), ("distilled", "control"), ("control", "rl")):
            if versions[a] and versions[b]:
                told.append({**_difference(versions[a], versions[b], paired), "kinds": [a, b]})
        models = {kind: role.model if role else None for kind, role in versions.items()}
        found.append({"student": item, **models, "comparisons": told})
    return found


def teacher_share(student: Mapping) -> str | None:
    """How much of the gain is the teacher's: the control learned from the generator's own chains of thought."""
    gap = next((c for c in student["comparisons"] if c.get("kinds") == ["distilled", "control"]), None)
    if gap is None:
        return None
    low, high = gap["ci95"]
    told = f"{points(gap['difference'])} points {interval(gap['ci95'], signed=True)}"
    if low > 0:
        return f"Distilling from the teacher gives {student['student']} more than the generator's own chains of thought do ({told})."
    if high < 0:
        return (
            f"The generator's own chains of thought teach {student['student']} more than the teacher's samples do ({told}): what "
            "distillation gains here is worked solutions of good quality, not something only this teacher knows."
        )
    return (
        f"The generator's own chains of thought teach {student['student']} as much as the teacher's samples ({told}, zero "
        "included): the gain is that of worked solutions, not of this teacher in particular."
    )


ELICITED = (
    ("pass@1", lambda m: m["pass_at_1"]),
    ("pass@k", lambda m: m["pass_at_k"]),
    ("full chain of thought, share", lambda m: m["elicitation"].get("full_cot_share")),
    ("accuracy given a full chain of thought", lambda m: m["elicitation"].get("accuracy_given_full_cot")),
    ("direct guesses, share", lambda m: m["elicitation"].get("direct_share")),
    ("accuracy given a direct guess", lambda m: m["elicitation"].get("accuracy_given_direct")),
    ("pass@1 forced to reason", lambda m: m["elicitation"].get("forced_cot_pass_at_1")),
    ("pass@1 forced to guess", lambda m: m["elicitation"].get("forced_direct_pass_at_1")),
    ("re-checking, share", lambda m: m["recheck_rate"]),
)


def elicitation(before: Mapping, after: Mapping, labels: tuple[str, str]) -> dict:
    """What RL changed between two checkpoints: the numbers before and after, and the sentences they support."""
    rows = [{"name": n, "before": get(before), "after": get(after)} for n, get in ELICITED]
    rows = [r for r in rows if r["before"] is not None or r["after"] is not None]
    return {
        "before": labels[0],
        "after": labels[1],
        "rows": rows,
        "sentences": _elicitation_sentences(before, after, labels),
    }


def _elicitation_sentences(before: Mapping, after: Mapping, labels: tuple[str, str]) -> list[str]:
    (a, b), e, f = labels, before["elicitation"], after["elicitation"]
    told = [_lift_sentence(before, after, labels)]
    if e.get("full_cot_share") is not None and f.get("full_cot_share") is not None:
        told.append(
            f"Full chains of thought went from {percent(e['full_cot_share'])} to {percent(f['full_cot_share'])} % of the responses, "
            f"and their accuracy from {percent(e['accuracy_given_full_cot'])} to {percent(f['accuracy_given_full_cot'])} %."
        )
    if (forced := e.get("forced_cot_pass_at_1")) is not None and (
        guess := e.get("forced_direct_pass_at_1")
    ) is not None:
        told.append(
            f"Made to reason, {a} reaches {measured(forced, e['forced_cot_ci95'])} %; made to guess, "
            f"{measured(guess, e['forced_direct_ci95'])} %."
        )
        if _lifted(before, after) and after["pass_at_1_ci95"][0] > e["forced_cot_ci95"][1]:
            told[-1] += f" {b} is above both: RL did more than choose to reason, the steps themselves got better."
        elif _lifted(before, after):
            told[-1] += f" {b} is not beyond the former: choosing to reason accounts for what RL gained."
    return [*told, recheck_sentence(before["recheck_rate"], after["recheck_rate"])]


def _lifted(before: Mapping, after: Mapping) -> bool:
    """Whether the intervals of pass@1 lie apart, the later one above."""
    both = before["pass_at_1_ci95"] and after["pass_at_1_ci95"]
    return bool(both) and after["pass_at_1_ci95"][0] > before["pass_at_1_ci95"][1]


def _lift_sentence(before: Mapping, after: Mapping, labels: tuple[str, str]) -> str:
    """Whether RL lifted pass@1, and whether pass@k before it already reached as far."""
    a, b = labels
    p, q = (measured(m["pass_at_1"], m["pass_at_1_ci95"]) for m in (before, after))
    if not _lifted(before, after):
        return f"RL did not lift pass@1 beyond the intervals: {a} {p} %, {b} {q} %."
    if before["pass_at_k"] is None:
        return f"RL lifted pass@1 from {p} % to {q} %."
    k = measured(before["pass_at_k"], before["pass_at_k_ci95"])
    if before["pass_at_k"] >= after["pass_at_1"]:
        return f"The ability was there: pass@k of {a} is {k} %. RL moved it to the first sample: pass@1 {p} % → {q} %."
    return f"RL lifted pass@1 from {p} % to {q} %, past pass@k of {a} ({k} %): more than its best of k samples held."


def recheck_sentence(before: float | None, after: float | None) -> str:
    """Whether re-checking appeared: the aha moment, or its absence."""
    told = f"{percent(before)} % → {percent(after)} % of the chains of thought"
    if before is None or after is None:
        return f"Re-checking could not be compared: {told}."
    if after > before + 0.01:
        return f"Re-checking became more frequent: {told}."
    fell = " RL made what little there was rarer." if before > after + 0.01 else ""
    return f"No spontaneous re-checking appeared: {told}.{fell}"


def curve_sentence(label: str, m: Mapping) -> str:
    """What a stage's RL did, from its own first and last steps."""
    return (
        f"{label}: accuracy {percent(m.get('accuracy_first'))} → {percent(m.get('accuracy_last'))} %, length "
        f"{decimal(m.get('length_first'))} → {decimal(m.get('length_last'))} tokens, target-language share "
        f"{percent(m.get('language_first'))} → {percent(m.get('language_last'))} % in {m.get('steps')} steps."
    )
