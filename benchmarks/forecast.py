"""`r1 plan` against what was measured and published: the tables of docs/plan.md.

    python benchmarks/forecast.py                       # prints them
    python benchmarks/forecast.py --write               # and puts them into docs/plan.md
    python benchmarks/forecast.py --collect             # first copies the run books of this checkout (recipe cpu) to docs/logs
    python benchmarks/forecast.py --calibrate           # fits the constants of one core to FITTED stages of those books

Only the stages in FITTED decide the constants in tasks/reporting/forecast/devices.py (CPU); all others test them.
"""

import argparse
import json
import math
import re
from pathlib import Path

from flows.cli.plan_tables import beside
from flows.orchestration.forecast.plan import Plan
from flows.orchestration.forecast.whatif import changes, forecast
from tasks.reporting.forecast.devices import CPU, Assumptions
from tasks.reporting.forecast.published import FIGURES

ROOT = Path(__file__).resolve().parents[1]
BOOKS = ROOT / "docs/logs/run_cpu.json"
PAGE = ROOT / "docs/plan.md"
FITTED = ("base", "judge", "dev1", "dev3", "r1_zero", "candidates", "evaluate@base", "reasoning")
CONSTANTS = ("train_share", "forward_share", "step_overhead", "decode_overhead", "start_up", "compile_start")
KEPT = ("seconds", "cpu_seconds", "peak_rss_mb", "disk_bytes")
RECIPES = ("cpu", "gpu", "node", "paper")


def plan(recipe: str, *what_if: str) -> Plan:
    return forecast(ROOT, ROOT / f"recipes/{recipe}.yaml", changes(list(what_if)))


def collect() -> None:
    """The measured costs of the stages of the last full run here, without who ran it and where."""
    books = {p.stem: json.loads(p.read_text()) for p in sorted((ROOT / "work/runs").glob("*.json"))}
    if missing := [s.stage for s in plan("cpu").steps if s.stage not in books]:
        raise SystemExit(f"work/runs has no book of {', '.join(missing)}: run the recipe `cpu` first")
    span = max(b["finished_at"] for b in books.values()) - min(b["started_at"] for b in books.values())
    out = {"cpu": books["base"]["cpu"], "side_by_side": 2, "wall_seconds": round(span, 1)}
    out["stages"] = {stage: {k: b[k] for k in KEPT} for stage, b in books.items()}
    BOOKS.parent.mkdir(exist_ok=True)
    BOOKS.write_text(json.dumps(out, indent=1) + "\n")


def measured() -> dict:
    return json.loads(BOOKS.read_text())


def calibrate() -> Assumptions:
    """Constants that bring FITTED closest to their measured seconds, by a pattern search over their logarithms."""
    books = measured()["stages"]
    made = plan("cpu")
    steps = [s for s in made.steps if s.stage in FITTED]

    def loss(values: dict) -> float:
        means = made.means.__class__(made.device, CPU.model_copy(update=values), 1)
        return sum(math.log(sum(s.parts(means, 1).values()) / books[s.stage]["seconds"]) ** 2 for s in steps)

    # one evaluation of `reasoning` reads compile_start from the recipe's work, so it is fitted by itself
    steps = [s for s in steps if s.stage != "reasoning"]
    best = {k: getattr(CPU, k) for k in CONSTANTS if k != "compile_start"}
    factor, score = 2.0, loss(best)
    while factor > 1.002:
        tried = [(loss(v), v) for v in (best | {k: best[k] * f} for k in best for f in (factor, 1 / factor))]
        found, values = min(tried, key=lambda t: t[0])
        if found < score:
            best, score = values, found
        else:
            factor **= 0.5
    rest = (
        books["reasoning"]["seconds"]
        - CPU.table_start
        - next(s.rows for s in made.steps if s.stage == "candidates") / CPU.curate_rows
    )
    return CPU.model_copy(update={k: float(f"{v:.3g}") for k, v in (best | {"compile_start": rest}).items()})


def errors(made: Plan, books: dict) -> list[tuple[str, bool, float, float]]:
    """(stage, fitted, forecast seconds, measured seconds)."""
    return [
        (s.stage, s.stage in FITTED, made.seconds(s, 1), books["stages"][s.stage]["seconds"])
        for s in made.steps if s.stage in books["stages"]
    ]  # fmt: skip


def against_measured() -> str:
    books, made = measured(), plan("cpu")
    rows = errors(made, books)
    lines = ["| stage | forecast s | measured s | ratio | |", "|---|---:|---:|---:|---|"]
    lines += [f"| {s} | {f:.1f} | {m:.1f} | {f / m:.2f} | {'fitted' if fit else ''} |" for s, fit, f, m in rows]
    tested = [(f, m) for _, fit, f, m in rows if not fit]
    off = sorted(abs(f / m - 1) for f, m in tested)
    big = sorted(abs(f / m - 1) for f, m in tested if m >= 10)
    total, real = sum(r[2] for r in rows), sum(r[3] for r in rows)
    disk, held = made.disk, sum(b["disk_bytes"] for b in books["stages"].values())
    lines += [
        "",
        (
            f"Of the {len(tested)} stages that were not fitted, half are off by {off[len(off) // 2]:.0%} or less (of the {len(big)} among them that take "
            f"10 s or longer: {big[len(big) // 2]:.0%}; the worst of these {big[-1]:.0%})."
        ),
        (
            f"All together: {total:,.0f} s forecast, {real:,.0f} s measured, ratio {total / real:.2f}. Two side by side: {made.wall_hours * 60:.1f} minutes "
            f"forecast, {books['wall_seconds'] / 60:.1f} measured, ratio {made.wall_hours * 3600 / books['wall_seconds']:.2f}. Artifacts: "
            f"{(disk.artifacts + disk.checkpoints) / 1e6:.1f} MB forecast, {held / 1e6:.1f} MB measured."
        ),
    ]
    peaks = sorted(made.peak_gb(s) * 1e3 / books["stages"][s.stage]["peak_rss_mb"] for s in made.steps if s.shape)
    lines.append(
        f"Peak memory of the {len(peaks)} stages with a model, forecast over measured: median {peaks[len(peaks) // 2]:.2f}, "
        f"from {peaks[0]:.2f} to {peaks[-1]:.2f}."
    )
    return "\n".join(lines)


def against_published() -> str:
    lines = ["| what | published | forecast | ratio | source |", "|---|---:|---:|---:|---|"]
    for f in FIGURES:
        value = f.forecast(Assumptions())
        note = f"; {f.note}" if f.note else ""
        lines.append(
            f"| {f.what} | {f.published:,.5g} {f.unit} | {value:,.4g} | {value / f.published:.2f} | {f.source}{note} |"
        )
    for what, hours, estimated in plan("paper").published():
        lines.append(f"| DeepSeek-R1: {what} | {hours:,} H800-hours | {estimated:,.0f} | {estimated / hours:.2f} | S |")
    return "\n".join(lines)


def sensitivity() -> str:
    """How far the hours of `node` and `paper` move with each assumption that carries weight."""
    lines = ["| assumption | node, GPU-hours | paper, R1-Zero |", "|---|---:|---:|"]
    for change in (
        "", "assume.response_share=0.5", "assume.response_share=0.125", "assume.train_share=0.2", "assume.bandwidth_share=0.3",
        "assume.decode_overhead=0.024", "assume.verify_seconds=0.2",
    ):  # fmt: skip
        what_if = [change] if change else []
        zero = next(p for p in plan("paper", *what_if).published())
        lines.append(f"| {change or 'as they are'} | {plan('node', *what_if).total_hours:,.0f} | {zero[2]:,.0f} |")
    return "\n".join(lines)


def sections() -> dict[str, str]:
    return {
        "recipes": beside([plan(r) for r in RECIPES]),
        "measured": against_measured(),
        "published": against_published(),
        "sensitivity": sensitivity(),
    }


def written(page: str, made: dict[str, str]) -> str:
    """The page with each section between its markers replaced."""
    for name, text in made.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        page, count = re.subn(pattern, lambda m, t=text: f"{m[1]}{t}\n{m[2]}", page, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(
                f"{PAGE}: expected one pair of markers `<!-- {name} -->` … `<!-- /{name} -->`, found {count}"
            )
    return page


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("collect", "calibrate", "write"):
        parser.add_argument(f"--{flag}", action="store_true")
    asked = parser.parse_args()
    if asked.collect:
        collect()
    if asked.calibrate:
        found = calibrate()
        print("tasks/reporting/forecast/devices.py, CPU:", {k: getattr(found, k) for k in CONSTANTS})
    else:
        made = sections()
        print("\n\n".join(f"## {name}\n\n{text}" for name, text in made.items()))
        if asked.write:
            PAGE.write_text(written(PAGE.read_text(), made))
