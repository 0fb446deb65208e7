"""The report as one HTML file that opens offline: no script, no link out, figures inside it.

Drawn from results.json, the figures and the run book. It shows measured times, so it is a view, not an artifact.
"""

from collections.abc import Mapping
from pathlib import Path

from tasks.reporting import tables, throughput
from tasks.reporting.words import DASH, count, decimal, duration, interval, percent, points

HERE = Path(__file__).parent


def render(results: Mapping, figures: Path, run_book: Mapping[str, Mapping], target: Path) -> Path:
    """Write `target`; `figures` is the folder of the report's figures, `run_book` the measured costs by stage."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    drawn = {p.stem: Markup(p.read_text()) for p in sorted(Path(figures).glob("*.svg"))}
    order = [a["stage"] for a in results["artifacts"]]
    page = environment.get_template("report.html.j2").render(
        r=results,
        css=Markup((HERE / "report.css").read_text()),
        figures=drawn,
        tiles=headline(results),
        tables={name: make(results) if _ready(results, name) else None for name, make in _TABLES.items()},
        differences=tables.differences(results, results["differences"]),
        student_differences=[(s, tables.differences(results, s["comparisons"])) for s in results["students"]],
        elicitation=list(zip(results["elicitation"], tables.elicitation(results), strict=True)),
        recipe=_recipe(results, run_book),
        cost=tables.cost(run_book, order),
        throughput=tables.throughput(run_book, order),
        steps=Markup(throughput.draw({s: run_book[s]["steps"] for s in order if run_book.get(s, {}).get("steps")})),
        machine=_machine(run_book),
        met=sum(e["met"] for e in results["expectations"]),
    )
    temporary = target.with_suffix(".html.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(page)
    temporary.replace(target)
    return target


_TABLES = {
    "main": tables.main, "by_stage": tables.by_stage, "students": tables.students, "funnel": tables.funnel,
    "cold_start": tables.cold_start, "judges": tables.judges,
}  # fmt: skip


def _ready(results: Mapping, name: str) -> bool:
    needs = {"by_stage": "by_stage", "students": "students", "funnel": "funnel", "cold_start": "cold_start"}
    return name not in needs or bool(results[needs[name]])


def headline(results: Mapping) -> list[dict]:
    """The numbers at the top: the recipe's main models with their intervals, and the differences that carry the story."""
    tiles = []
    for stage in ("base", "r1_zero", "r1"):
        if m := next((m for m in results["models"] if m["stage"] == stage), None):
            tiles.append(
                {
                    "label": f"{m['label']} pass@1",
                    "value": f"{percent(m['pass_at_1'])} %",
                    "note": interval(m["pass_at_1_ci95"]),
                }
            )
    stages = {m["model"]: m["stage"] for m in results["models"]}
    for d in results["differences"]:
        if (stages[d["a"]], stages[d["b"]]) == ("r1", "r1_zero"):
            tiles.append(
                {
                    "label": d["label"],
                    "value": f"{points(d['difference'])} points",
                    "note": interval(d["ci95"], signed=True),
                }
            )
    for s in results["students"]:
        for c in s["comparisons"]:
            if c.get("kinds") == ["distilled", "rl"]:
                tiles.append({"label": f"{s['student']}: distilled − RL alone", "value": f"{points(c['difference'])} points", "note": interval(c["ci95"], signed=True)})  # fmt: skip
    if r1 := next((m for m in results["models"] if m["stage"] == "r1" and m["language_consistency"] is not None), None):
        tiles.append(
            {
                "label": "R1 language consistency",
                "value": f"{percent(r1['language_consistency'])} %",
                "note": f"{count(r1['parameters'])} parameters",
            }
        )
    return tiles


def _recipe(results: Mapping, run_book: Mapping) -> tables.Table:
    """The recipe's table with the measured time of each stage."""
    t = tables.recipe(results)
    times = [duration(run_book.get(a["stage"], {}).get("seconds")) for a in results["artifacts"]]
    rows = tuple((*row[:3], time, *row[3:]) for row, time in zip(t.rows, times, strict=True))
    return tables.Table((*t.header[:3], "time", *t.header[3:]), rows, t.note, frozenset({0, 1, 4}))


def _machine(run_book: Mapping) -> dict:
    """Totals of the run book, and on what they were measured."""
    if not run_book:
        return {}
    entries = list(run_book.values())
    peak = max(e.get("peak_rss_mb") or 0 for e in entries)
    starts, ends = (
        [e["started_at"] for e in entries if "started_at" in e],
        [e["finished_at"] for e in entries if "finished_at" in e],
    )
    return {
        "cpu": ", ".join(sorted({e["cpu"] for e in entries if e.get("cpu")})) or DASH,
        "threads": ", ".join(sorted({str(e["threads"]) for e in entries if "threads" in e})) or DASH,
        "seconds": duration(sum(e.get("seconds") or 0 for e in entries)),
        "span": duration(max(ends) - min(starts)) if starts and ends else None,
        "cpu_seconds": decimal(sum(e.get("cpu_seconds") or 0 for e in entries), 0),
        "peak": f"{decimal(peak / 1024, 2)} GiB",
        "resumed": sorted(e["stage"] for e in entries if e.get("resumed")),
    }
