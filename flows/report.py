"""The report card (paper §3 and §4.1 in miniature): every measured number in one place, beside the paper's.

report/results.json holds all that is stated; Markdown and figures are drawn from it and are outs of the DAG.
report/index.html also shows measured times, so it is a view that git and DVC ignore; `r1 report` draws it again.
"""

from pathlib import Path

from pydantic import Field

from flows.orchestration.dag import load_dag, lookup
from flows.orchestration.params import read_yaml
from flows.orchestration.stage import Run, stage
from tasks.evaluation import metrics, protocol
from tasks.evaluation.intervals import paired_difference
from tasks.provenance.artifacts import read_rows
from tasks.reporting import card, figures, html, markdown, sources
from tasks.reporting.roles import role
from tasks.rows import COMPLETION, PROMPT, VERDICT
from tasks.settings import Settings

SHOWN = ("base", "r1_zero", "r1")  # whose rollouts are shown side by side: before RL, after it, at the end


class Params(Settings):
    rollouts: int = Field(6, ge=0, description="problems whose samples before and after RL are shown")


def read_samples(folder: Path) -> dict[str, list[metrics.Judged]]:
    """One model's samples with their verdicts, by problem."""
    return metrics.judged(read_rows(folder, "samples", COMPLETION), read_rows(folder, "verdicts", VERDICT))


def choose_rollouts(samples: dict, models: dict[str, str], evaluated: Path, count: int) -> list[dict]:
    """The first problems by id with each shown model's first sample: nothing is picked."""
    roles = [r for name in models if (r := role(name, models[name])).stage in SHOWN]
    if not roles or not count:
        return []
    problems = sorted(read_rows(evaluated / roles[0].model, "problems", PROMPT), key=lambda q: q["id"])[:count]
    return [
        {
            "problem": q["text"],
            "gold": q["gold"],
            "answers": [
                {"label": r.label, "model": r.model, "text": first.text, "status": first.status}
                for r in roles
                for first in samples[r.model][q["id"]][:1]
            ],
        }
        for q in problems
    ]


def graph(root: Path) -> list[dict]:
    """The stages of dvc.yaml as plain data."""
    dag = load_dag(root)
    return [
        {
            "stage": n.stage,
            "name": n.name,
            "item": n.item,
            "desc": n.desc,
            "outs": list(n.outs),
            "upstream": list(dag.upstream[s]),
        }
        for s, n in dag.nodes.items()
    ]


def collect(p: Params, run: Run) -> card.Inputs:
    """Everything the report is made from; refuses models that were evaluated under different protocols."""
    declared = {key: lookup(read_yaml(run.root / "params.yaml"), key) for key in run.node.params}
    models, evaluated = declared["evaluate.models"], run.input("evaluate")
    found = sources.read_metrics(run.input_path("metrics"))
    listed = {f"evaluate/{name}" for name in models}  # models that the recipe no longer lists are not reported
    found = {k: m for k, m in found.items() if not k.startswith("evaluate/") or k in listed}
    shared = protocol.common({name: found.get(f"evaluate/{name}", {}) for name in models})
    samples = {name: read_samples(evaluated / name) for name in models}
    scores = {name: metrics.pass_at_1(problems) for name, problems in samples.items()}
    return card.Inputs(
        recipe=run.recipe,
        seed=run.root_seed,
        models=models,
        metrics=found,
        curves=sources.read_curves(run.input_path("plots")),
        protocol=shared.model_dump(),
        protocol_words=shared.words(),
        paired=lambda a, b: paired_difference(scores[a], scores[b], run.root_seed),
        rollouts=choose_rollouts(samples, models, evaluated, p.rollouts),
        stages=graph(run.root),
        student_of_rl=declared.get("student_rl.student"),
    )


def body(p: Params, run: Run) -> dict:
    inputs = collect(p, run)
    results = card.build(inputs)
    drawn = figures.draw_all(results, inputs.curves, run.outs["figures"])
    run.outs["results.json"].write_text(sources.as_json(results))
    run.outs["report.md"].write_text(markdown.render(results, drawn))
    html.render(
        results,
        run.outs["figures"],
        sources.read_run_book(run.root / "work" / "runs"),
        run.root / "report" / "index.html",
    )
    run.log("report/index.html opens offline; `r1 report` shows the main table")
    return {}


if __name__ == "__main__":
    stage(body, Params)
