"""results.json: everything the report states, as data. Markdown, HTML and figures are drawn from it alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.reporting import artifacts, expectations, findings, paper
from tasks.reporting.roles import Role, of_stage, role

OUTCOME = (
    "pass_at_1", "pass_at_1_ci95", "pass_at_k", "pass_at_k_ci95", "cons_at_k", "cons_at_k_ci95", "format_rate",
    "language_consistency", "mixed_language_rate", "mean_length", "truncation_rate", "recheck_rate", "parameters",
)  # fmt: skip
RL_CURVES = ("reward", "accuracy", "length", "language", "recheck")
SMALL = 50_000_000  # parameters below which a model is called a miniature


@dataclass(frozen=True)
class Inputs:
    """What a report is made from; read by flows/report.py, or made up in a test."""

    recipe: str
    seed: int
    models: Mapping[str, str]  # evaluated models in the recipe's order → folder of the checkpoint
    metrics: Mapping[str, Mapping]  # by path under metrics/, without .json
    curves: Mapping[str, Mapping[str, Sequence[float | None]]]  # by path under plots/, without .csv
    protocol: Mapping  # the one protocol of all evaluated models
    protocol_words: str
    paired: findings.Paired
    rollouts: Sequence[Mapping] = ()
    stages: Sequence[Mapping] = ()  # of dvc.yaml: stage, name, item, desc, outs, upstream
    student_of_rl: str | None = None
    notes: Sequence[str] = field(default=())


def build(x: Inputs) -> dict:
    """The whole report as JSON-ready data; sections whose artifacts are absent are left out, with a note each."""
    roles = [role(name, folder, _student_of_rl(x)) for name, folder in x.models.items()]
    models = [_model(r, x) for r in roles]
    by_stage = {r.stage: x.metrics[f"evaluate/{r.model}"] for r in roles if r.stage in paper.STAGES}
    differences = findings.differences(roles, x.paired)
    students = findings.students(roles, x.paired)
    curves = {s: m for s, m in x.metrics.items() if "reward_first" in m}
    results = {
        "recipe": x.recipe,
        "seed": x.seed,
        "protocol": dict(x.protocol),
        "protocol_words": x.protocol_words,
        "models": models,
        "artifacts": artifacts.rows(x.stages, x.metrics, models),
        "by_stage": _by_stage(roles),
        "differences": differences,
        "students": [s | {"teacher": findings.teacher_share(s)} for s in students],
        "curves": [
            {"stage": s, "label": _stage_label(s), "sentence": findings.curve_sentence(_stage_label(s), m)}
            for s, m in curves.items()
        ],
        "funnel": _funnel(x.metrics),
        "judge": _judge(x.metrics),
        "cold_start": x.metrics.get("cold_start"),
        "data": {
            name: x.metrics[name]
            for name in ("prompts", "sft_data", "preferences", "reward_models")
            if name in x.metrics
        },
        "elicitation": _elicitation(roles, x.metrics),
        "expectations": expectations.check(by_stage, _pairs(roles, differences, students), x.metrics, x.recipe),
        "rollouts": list(x.rollouts),
        "dag": _collapsed(x.stages),
        "metrics": dict(x.metrics),
    }
    return results | {"limits": _limits(results), "notes": [*x.notes, *_notes(results)]}


def _student_of_rl(x: Inputs) -> str | None:
    """The student that RL alone trained: told, or else the only student base of the same number of parameters."""
    if x.student_of_rl:
        return x.student_of_rl
    made = {name: role(name, folder) for name, folder in x.models.items()}
    count = {name: x.metrics[f"evaluate/{name}"].get("parameters") for name in made}
    rl = [count[n] for n, r in made.items() if r.stage == "student_rl"]
    same = [r.item for n, r in made.items() if r.stage == "student_base" and rl and count[n] == rl[0]]
    return same[0] if len(same) == 1 else None


def _model(r: Role, x: Inputs) -> dict:
    found = x.metrics[f"evaluate/{r.model}"]
    facts = {"model": r.model, "label": r.label, "stage": r.stage, "item": r.item, "checkpoint": x.models[r.model]}
    return facts | {key: found.get(key) for key in OUTCOME}


def _stage_label(stage: str) -> str:
    known = {"r1_zero": "R1-Zero", "dev2": "Dev2", "r1": "R1", "student_rl": "Student by RL alone"}
    return known.get(stage, stage)


def _by_stage(roles: Sequence[Role]) -> dict | None:
    """Our stages in the paper's order, and the paper's rows for the same columns."""
    columns = [r for s in paper.STAGES if (r := of_stage(roles, s))]
    if len(columns) < 2:
        return None
    published = {name: [row[r.stage] for r in columns] for name, row in paper.BY_STAGE.items()}
    return {"models": [r.model for r in columns], "labels": [r.label for r in columns], "paper": published}


def _pairs(roles: Sequence[Role], differences: Sequence[Mapping], students: Sequence[Mapping]) -> dict:
    """Paired differences by the stages they compare; the student that RL trained gives ("distilled", "student_rl")."""
    stage = {r.model: r.stage for r in roles}
    pairs = {(stage[d["a"]], stage[d["b"]]): d for d in differences}
    for s in students:
        for c in s["comparisons"]:
            if c.get("kinds") == ["distilled", "rl"]:
                pairs["distilled", "student_rl"] = c
    return pairs


def _funnel(metrics: Mapping) -> dict | None:
    """Candidates, what each rule was the first to reject, how many fail it at all, what was kept; the sum is checked."""
    found = metrics.get("reasoning")
    if not found:
        return None
    rules = [{"rule": f["rule"], "rejected": f["rejected"], "failed": f.get("failed")} for f in found["funnel"]]
    lost = sum(f["rejected"] for f in rules)
    if found["candidates"] != found["kept"] + lost:
        raise ValueError(
            f"metrics/reasoning.json: {found['candidates']} candidates, but {found['kept']} kept and {lost} rejected by its rules; "
            "a row was dropped silently: rebuild it with `r1 run reasoning`"
        )
    return {"candidates": found["candidates"], "kept": found["kept"], "rules": rules}


def _judge(metrics: Mapping) -> dict | None:
    judge, verdicts = metrics.get("judge"), metrics.get("verdicts")
    return {"held_out": judge, "verdicts": verdicts} if judge or verdicts else None


def _elicitation(roles: Sequence[Role], metrics: Mapping) -> list[dict]:
    """Before and after each RL of the recipe that starts from an evaluated checkpoint."""
    found = []
    for first, second in (("base", "r1_zero"), ("dev1", "dev2"), ("dev3", "r1")):
        a, b = of_stage(roles, first), of_stage(roles, second)
        if a and b:
            found.append(
                findings.elicitation(metrics[f"evaluate/{a.model}"], metrics[f"evaluate/{b.model}"], (a.label, b.label))
            )
    return found


def _collapsed(stages: Sequence[Mapping]) -> dict | None:
    """The graph with the items of a foreach stage drawn as one node: nodes with their item count, edges between names."""
    if not stages:
        return None
    nodes: dict[str, dict] = {}
    name_of = {s["stage"]: s["name"] for s in stages}
    edges = set()
    for s in stages:
        node = nodes.setdefault(s["name"], {"name": s["name"], "items": [], "desc": s.get("desc", "")})
        if s.get("item"):
            node["items"].append(s["item"])
        edges |= {(name_of[u], s["name"]) for u in s["upstream"] if name_of[u] != s["name"]}
    return {"nodes": list(nodes.values()), "edges": [list(e) for e in sorted(edges)]}


def _limits(results: Mapping) -> list[str]:
    """What the numbers do not show; which of it holds depends on the size of the models and on the data."""
    limits = [
        "The intervals are over problems, for one training run; another seed trains another model (docs/results.md has three)."
    ]
    sizes = [m["parameters"] for m in results["models"] if m["parameters"]]
    if sizes and max(sizes) < SMALL:
        limits += [
            "A miniature: the same stages, losses, rewards and filters as the recipe's, on models trained from scratch. It shows "
            "how the pieces fit and in which direction each stage moves the model; it says nothing about absolute strength.",
            "The problems are one procedural family that the base saw in pretraining. RL elicits and sharpens what the base can "
            "do; no new skill is taught or claimed, and nothing here tests transfer to other tasks.",
            "The paper's rows are other benchmarks at another scale: compare the shape from stage to stage, never the values.",
        ]
    labelled = set((results["data"].get("preferences") or {}).get("labelled_by") or [])
    if "procedural-oracle" in labelled:
        limits.append(
            "Preference labels come from a procedural oracle, named so in the data: no model this small can judge helpfulness."
        )
    return limits


def _notes(results: Mapping) -> list[str]:
    """Which sections are missing, and why."""
    absent = {
        "by_stage": "By stage: fewer than two of base, R1-Zero, Dev1, Dev2, Dev3, R1 were evaluated.",
        "students": "Distillation: no distilled student was evaluated.",
        "funnel": "Candidates: metrics/reasoning.json is absent.",
        "judge": "Judge: metrics/judge.json and metrics/verdicts.json are absent.",
        "cold_start": "Cold start: metrics/cold_start.json is absent.",
        "elicitation": "Elicitation: no pair of checkpoints before and after RL was evaluated.",
        "curves": "RL curves: no stage trained by RL left metrics.",
        "rollouts": "Rollouts: no samples were kept.",
        "dag": "DAG: the graph was not handed to the report.",
    }
    notes = [f"{told} Left out." for key, told in absent.items() if not results[key]]
    first = results["elicitation"][0]["rows"] if results["elicitation"] else []
    if first and not any(r["name"].startswith("full chain") for r in first):
        notes.append(
            "Styles: responses are classified for the tiny model's own problems only; shares of full chains and guesses left out."
        )
    return notes
