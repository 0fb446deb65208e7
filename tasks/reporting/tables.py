"""The report's tables as text cells, shared by Markdown and HTML, so that both say the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.reporting.words import count, decimal, duration, interval, measured, percent, points, size


@dataclass(frozen=True)
class Table:
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""  # e.g. the protocol
    text: frozenset[int] = frozenset({0})  # columns of words, aligned left; the others hold numbers


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "", text: Sequence[int] = (0,)) -> Table:
    return Table(tuple(header), tuple(tuple(r) for r in rows), note, frozenset(text))


def protocol_note(results: Mapping) -> str:
    return f"Percent, with bootstrap 95 % intervals over the problems. Protocol: {results['protocol_words']}."


def main(results: Mapping) -> Table:
    """Every evaluated model under the one protocol."""
    k = results["protocol"]["k"]
    header = ("model", "parameters", "pass@1", f"pass@{k}", f"cons@{k}", "format", "language", "length", "truncated")
    rows = [
        (
            m["label"], count(m["parameters"]), measured(m["pass_at_1"], m["pass_at_1_ci95"]), percent(m["pass_at_k"]),
            percent(m["cons_at_k"]), percent(m["format_rate"]), percent(m["language_consistency"]), decimal(m["mean_length"]),
            percent(m["truncation_rate"]),
        )
        for m in results["models"]
    ]  # fmt: skip
    return _table(header, rows, protocol_note(results))


def recipe(results: Mapping) -> Table:
    """One row per artifact: what it is, where the paper says so, how big, what came out."""
    score = {m["model"]: measured(m["pass_at_1"], m["pass_at_1_ci95"]) for m in results["models"]}
    rows = [
        (a["artifact"], a["paper"], a["size"], a["outcome"], score.get(a["model"], "")) for a in results["artifacts"]
    ]
    header = ("artifact", "paper §", "size", "what the stage measured", "pass@1, %")
    return _table(header, rows, protocol_note(results), text=(0, 1, 3))


def by_stage(results: Mapping) -> Table:
    """Ours as the paper's table 2, and the paper's rows under it."""
    columns = results["by_stage"]
    models = {m["model"]: m for m in results["models"]}
    ours = [models[m] for m in columns["models"]]
    rows = [
        ("pass@1, %", *(percent(m["pass_at_1"]) for m in ours)),
        ("95 % interval", *(interval(m["pass_at_1_ci95"]) for m in ours)),
        ("language consistency, %", *(percent(m["language_consistency"]) for m in ours)),
        ("CoTs that mix languages, %", *(percent(m["mixed_language_rate"]) for m in ours)),
        ("well-formed, %", *(percent(m["format_rate"]) for m in ours)),
        ("mean length, tokens", *(decimal(m["mean_length"]) for m in ours)),
        *((f"paper: {name}", *(decimal(v) for v in row)) for name, row in columns["paper"].items()),
    ]
    return _table(("", *columns["labels"]), rows, protocol_note(results))


def differences(results: Mapping, rows: Sequence[Mapping]) -> Table:
    """Paired differences of pass@1 on the same problems."""
    cells = [
        (d["label"], points(d["difference"]), interval(d["ci95"], signed=True), d["reading"].partition(":")[0])
        for d in rows
    ]
    header = ("pass@1, paired on the same problems", "points", "95 % interval", "what it allows to be said")
    return _table(header, cells, protocol_note(results), text=(0, 3))


def students(results: Mapping) -> Table:
    """Per student: own base, RL alone, control, distilled."""
    models = {m["model"]: m for m in results["models"]}
    kinds = ("base", "rl", "control", "distilled")

    def cell(model: str | None) -> str:
        return measured(models[model]["pass_at_1"], models[model]["pass_at_1_ci95"]) if model else "–"

    rows = [
        (s["student"], count(models[s["distilled"]]["parameters"]), *(cell(s[k]) for k in kinds))
        for s in results["students"]
    ]
    header = ("student", "parameters", "own base", "RL alone", "control: generator's CoTs", "distilled")
    return _table(header, rows, protocol_note(results))


def funnel(results: Mapping) -> Table:
    """Each rule with what it was the first to reject; a candidate may fail several."""
    f = results["funnel"]
    total = max(1, f["candidates"])
    rows = [("candidates", count(f["candidates"]), percent(f["candidates"] / total), "")]
    for r in f["rules"]:
        rows.append(
            (
                f"rejected: {r['rule']}".replace("_", " "),
                count(r["rejected"]),
                percent(r["rejected"] / total),
                count(r["failed"]),
            )
        )
    rows.append(("kept", count(f["kept"]), percent(f["kept"] / total), ""))
    return _table(("", "rows", "% of candidates", "fail this rule at all"), rows)


def cold_start(results: Mapping) -> Table:
    """The four collection routes: asked, kept, and why rows were rejected."""
    rows = []
    for route, r in results["cold_start"]["routes"].items():
        why = ", ".join(f"{rule.replace('_', ' ')} {count(n)}" for rule, n in r["rejected"].items() if n)
        rows.append((route.replace("_", " "), count(r.get("asked")), count(r["kept"]), why or "–"))
    return _table(("route", "asked", "kept", "rejected"), rows, text=(0, 3))


def judges(results: Mapping) -> Table:
    """Everything that was judged by a model, and how well it judges."""
    rows, judge = [], results["judge"] or {}
    held, verdicts = judge.get("held_out") or {}, judge.get("verdicts") or {}
    if held.get("accuracy") is not None:
        rows.append(
            (
                "generative judge on held-out pairs",
                measured(held["accuracy"], held.get("accuracy_ci95")),
                count(held.get("held_out")),
            )
        )
    if verdicts.get("agreement") is not None:
        rows.append(
            (
                "judge agrees with the rules",
                measured(verdicts["agreement"], verdicts.get("agreement_ci95")),
                count(verdicts.get("judge_candidates")),
            )
        )
        for key, words in (
            ("judge_false_accept", "accepts what the rules reject"),
            ("judge_false_reject", "rejects what the rules accept"),
        ):
            if verdicts.get(key) is not None:
                rows.append((f"judge {words}", percent(verdicts[key]), ""))
    rewards = results["data"].get("reward_models") or {}
    for name, key, words in (
        ("helpful", "pairs", "held-out pairs ranked right"),
        ("safe", "labels", "held-out labels predicted right"),
    ):
        if rewards.get(name):
            r = rewards[name]
            rows.append(
                (f"{name} reward model: {words}", measured(r["accuracy"], r.get("accuracy_ci95")), count(r.get(key)))
            )
    return _table(("", "%", "rows"), rows)


def elicitation(results: Mapping) -> list[tuple[str, Table]]:
    """(before → after, table) for every RL stage."""
    out = []
    for e in results["elicitation"]:
        rows = [(r["name"], percent(r["before"]), percent(r["after"])) for r in e["rows"]]
        out.append(
            (f"{e['before']} → {e['after']}", _table(("%", e["before"], e["after"]), rows, protocol_note(results)))
        )
    return out


def cost(run_book: Mapping[str, Mapping], order: Sequence[str]) -> Table:
    """Measured on this machine, stage by stage; the total's memory is the largest single stage's."""
    stages = [s for s in order if s in run_book] + sorted(run_book.keys() - set(order))
    entries = [run_book[s] for s in stages]
    rows = [
        (
            e["stage"],
            duration(e.get("seconds")),
            decimal(e.get("cpu_seconds")),
            decimal(e.get("peak_rss_mb"), 0),
            size(e.get("disk_bytes")),
        )
        for e in entries
    ]
    if entries:
        total = {key: sum(e.get(key) or 0 for e in entries) for key in ("seconds", "cpu_seconds", "disk_bytes")}
        peak = max(e.get("peak_rss_mb") or 0 for e in entries)
        rows.append(
            (
                "all stages, one after the other",
                duration(total["seconds"]),
                decimal(total["cpu_seconds"]),
                decimal(peak, 0),
                size(total["disk_bytes"]),
            )
        )
    return _table(("stage", "time", "CPU-seconds", "peak memory, MB", "written"), rows)


def throughput(run_book: Mapping[str, Mapping], order: Sequence[str]) -> Table:
    """Measured: what a step of each RL stage took, and on what."""
    entries = [run_book[s] for s in order if run_book.get(s, {}).get("throughput")]
    rows = [
        (
            e["stage"],
            f"{t['steps']:.0f}",
            decimal(t["seconds_per_step"], 2),
            decimal(t["tokens_per_second"], 0),
            *(percent(t[f"{part}_share"]) for part in ("rollout", "reward", "training")),
        )
        for e in entries
        if (t := e["throughput"])
    ]
    header = ("stage", "steps", "s/step, median", "tokens/s", "rollout %", "rewards %", "training %")
    note = "tokens/s: completion tokens over all seconds of the steps. A resumed stage counts the steps before it as well."
    return _table(header, rows, note)
