"""What a stage's run shows in Prefect: metrics, learning curve, funnel, sample rollouts, and what was made from what.

Everything is read from what the stage published, so the page of a stage that DVC restored can show the same; only the
rollouts of training, which are kept nowhere, come from the running stage. tracking.py puts it on the server.
"""

import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows.orchestration import run_book
from flows.orchestration.dag import Node, lookup
from flows.orchestration.lineage import Lineage
from flows.orchestration.progress import human
from tasks.provenance.tables import Table, tables
from tasks.reporting import inline_svg, samples
from tasks.reporting.samples import said

STEP_COLUMNS = ("step", "tokens_per_second", "seconds", "rollout", "reward", "training")  # tasks/progress.py: timings
LAST_COLUMNS = ("learning_rate", "tokens", "step")  # of a curve: drawn where there is room
LEDGER = 20_000_000  # decisions; of a longer ledger only the metrics' funnel is shown
Linked = Callable[[Collection[str]], Mapping[str, str]]  # stages -> stage -> address
Rule = Mapping[str, Any]  # {"step", "rule", "rejected"}: rows of which the rule is the first to reject them


@dataclass(frozen=True)
class Shown:
    """One artifact in Prefect's sense."""

    key: str  # what it is; Prefect's key has the stage behind it
    type: str  # table, markdown or progress
    data: Any
    description: str


def page(
    root: Path,
    node: Node,
    rollouts: list[dict] | None = None,
    linked: Linked = lambda stages: {},
    say: Callable[[str], None] = print,
) -> Iterator[Shown]:
    """All that a finished stage has to show, what people look at first coming first; what cannot be shown is said.

    rollouts: the latest of training (tasks/progress.py); linked: addresses of those stages that have a page.
    """

    def made() -> list[Table]:
        return tables([root / path for path in node.outs])

    def rows() -> Iterator[Shown | None]:
        if rollouts:
            yield latest_rollouts(node, rollouts)
        elif found := samples.sample_rows(made(), tables([root / path for path in node.inputs.values()])):
            yield Shown("rollouts", "markdown", f"### {found[0]}\n\n{found[1]}", f"{node.stage}: {found[0]}")

    parts: dict[str, Callable[[], Iterable[Shown | None]]] = {
        "metrics": lambda: [metrics_table(node, metrics)] if (metrics := _metrics(root, node)) else [],
        "curve": lambda: [learning_curve(node, _curve(root, node))],
        "funnel": lambda: [funnel(node, *funnel_counts(_metrics(root, node), made()))],
        "rollouts": rows,
        "report": lambda: [report_card(root, node)],
        "lineage": lambda: [lineage(root, node, linked)],
    }
    for name, make in parts.items():
        try:
            shown = [part for part in make() if part]
        except Exception as exc:  # a damaged table, say, is for the stages that read it to refuse
            say(f"[{node.stage}] cannot show its {name}: {type(exc).__name__}: {exc}")
        else:
            yield from shown


def key(kind: str, stage: str) -> str:
    """An artifact's key: Prefect's hold lower-case letters, digits and dashes."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in f"{kind}-{stage}".lower())


def _metrics(root: Path, node: Node) -> dict:
    path = next((root / p for p in node.metrics), None)
    return json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else {}


def _curve(root: Path, node: Node) -> list[dict]:
    path = next((root / p for p in node.plots), None)
    if not path or not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]


def metrics_table(node: Node, metrics: Mapping) -> Shown:
    """Nested values by their dotted names; lists of rows, such as a funnel, are shown elsewhere."""
    rows = [{"metric": name, "value": value} for name, value in _flat(metrics)]
    return Shown("metrics", "table", rows, f"metrics of {node.stage}")


def _flat(values: Mapping, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif not isinstance(value, list):
            yield f"{above}{name}", value if isinstance(value, int) and not isinstance(value, bool) else said(value)
        elif not any(isinstance(v, (Mapping, list)) for v in value):
            yield f"{above}{name}", ", ".join(map(said, value))


def learning_curve(node: Node, rows: list[dict], live: bool = False) -> Shown | None:
    """Each column of the stage's plot over its first; None where it has none."""
    svg = inline_svg.curves(rows, LAST_COLUMNS)
    if svg is None:
        return None
    words = f"learning curve of {node.stage}{', as far as it is' if live else ''}; thin: as logged, bold: smoothed"
    return Shown("curve", "markdown", _picture(svg, words), words)


def throughput(node: Node, timings: list[dict]) -> Shown | None:
    """What each step took, and tokens a second; None for a stage that told of no steps."""
    svg = inline_svg.curves([{c: row[c] for c in STEP_COLUMNS} for row in timings])
    words = f"{node.stage}: seconds of each step, and completion tokens a second"
    return Shown("throughput", "markdown", _picture(svg, words), words) if svg else None


def _picture(svg: str, words: str) -> str:
    """In Markdown, because beside an artifact of type image Prefect spells its whole data: URI out."""
    return f"![{words}]({inline_svg.data_uri(svg)})\n"


def funnel_counts(metrics: Mapping, made: list[Table]) -> tuple[int | None, list[Rule]]:
    """(rows that entered, rules): from the metrics, else from the ledger; None where it lists rejects alone."""
    if isinstance(metrics.get("funnel"), list) and "candidates" in metrics:
        return metrics["candidates"], metrics["funnel"]
    ledger = next((t for t in made if t.kind == "decision" and 0 < t.rows <= LEDGER), None)
    return _counted(ledger) if ledger else (None, [])


def _counted(ledger: Table) -> tuple[int | None, list[Rule]]:
    """A row's decisions stand in the order in which its rules were applied: the first failed one is the reason."""
    import duckdb

    with duckdb.connect(config={"threads": 1}) as con:
        con.read_parquet(str(ledger.file), file_row_number=True).create_view("d")
        order = con.sql(
            "select stage, rule, min(file_row_number) as nth, bool_or(keep) from d group by all order by nth"
        )
        rules = order.fetchall()
        first = "select arg_min(stage || chr(10) || rule, file_row_number) why from d where not keep group by row_id"
        taken = dict(con.sql(f"select why, count(*) from ({first}) group by why").fetchall())
        entered = con.sql("select count(distinct row_id) from d").fetchall()[0][0]
    counts = [{"step": step, "rule": rule, "rejected": taken.get(f"{step}\n{rule}", 0)} for step, rule, *_ in rules]
    return (entered if any(kept for *_, kept in rules) else None), counts


def funnel(node: Node, entered: int | None, rules: list[Rule]) -> Shown | None:
    """The numbers and, where it is known how many rows entered, the picture; None without rules."""
    if not rules:
        return None
    words, picture, left = f"{node.stage}: rows by the first rule that rejected them", "", entered
    head, rows = ["step", "rule", "rejected"], []
    if entered is not None:
        head += ["of entered", "left"]
        kept = entered - sum(rule["rejected"] for rule in rules)
        words = f"{kept:,} of {entered:,} rows kept by {node.stage}"
        picture = _picture(inline_svg.funnel(entered, [(r["rule"], r["rejected"]) for r in rules], kept), words) + "\n"
    for rule in rules:
        cells = [rule["step"], rule["rule"], f"{rule['rejected']:,}"]
        if entered is not None:
            left -= rule["rejected"]
            cells += [f"{rule['rejected'] / max(1, entered):.2%}", f"{left:,}"]
        rows.append(f"| {' | '.join(cells)} |")
    table = "\n".join([f"| {' | '.join(head)} |", "|---|---|" + "--:|" * (len(head) - 2), *rows])
    return Shown("funnel", "markdown", f"{picture}{table}\n", words)


def latest_rollouts(node: Node, rollouts: list[dict]) -> Shown | None:
    if not rollouts:
        return None
    words = f"{node.stage}: completions of one prompt at the latest step, best and worst"
    return Shown("rollouts", "markdown", f"### {words}\n\n{samples.rollouts(rollouts)}", words)


def report_card(root: Path, node: Node) -> Shown | None:
    """The main table of report.md, where the stage writes one."""
    path = next((root / p for p in node.outs if p.endswith("report.md")), None)
    text = path.read_text(encoding="utf-8") if path and path.is_file() else ""
    _, _, rest = text.partition("<!-- main table -->")
    table, closed, _ = rest.partition("<!-- /main table -->")
    return Shown("report", "markdown", table.strip() + "\n", "main table of the report card") if closed else None


def lineage(root: Path, node: Node, linked: Linked = lambda stages: {}) -> Shown:
    """Checksums of what was made and of what it was made from, with links to the pages of who made that."""
    books, book = Lineage.at(root), run_book.read(root, node.stage)
    parts = [f"### {node.desc or node.stage}", f"`{node.cmd}`"]
    if book and run_book.is_about(book, {path: root / path for path in node.outs}):
        parts.append(_who(book))
    made = [_made(root, path) for path in node.writes]
    parts.append("\n".join(["| made | files | rows | size | sha256 |", "|---|--:|--:|--:|---|", *made]))
    used, makers = [], {path: books.maker(path) for path in (*node.inputs.values(), *node.others)}
    pages = linked([maker.stage for maker in makers.values() if maker])
    for path, maker in makers.items():
        by = maker.stage if maker else "given" if path not in node.others else "all before"
        if by in pages:
            by = f"[{by}]({pages[by]})"
        md5 = (
            books.records[node.stage].deps[path].md5
            if not maker or path not in maker.writes
            else maker.writes[path].md5
        )
        used.append(f"| {path} | {by} | {_short(run_book.identity(root / path))} | {_short(md5)} |")
    if used:
        parts.append("\n".join(["| from | made by | sha256 | md5 in dvc.lock |", "|---|---|---|---|", *used]))
    if values := {name: lookup(books.values, name) for name in node.params}:
        parts.append(f"```yaml\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=90)}```")
    parts.append(
        f"A folder's sha256 is that of its manifest.json, which holds its files'. Code, and all before: `r1 trace {node.stage}`. "
        "For `sha256sum -c`:"
    )
    parts.append("```text\n" + "\n".join(_checksums(root, [*node.writes, *makers])) + "\n```")
    return Shown("lineage", "markdown", "\n\n".join(parts) + "\n", f"{node.stage}: what was made, from what")


def _who(book: Mapping) -> str:
    """One line of the run book: who ran it, where, from which commit, at what cost."""
    dirty = book.get("dirty") or []
    commit = f"commit `{book['commit'][:12]}`" if book.get("commit") else "no commit"
    commit += (
        f" with changes in {', '.join(f'`{path}`' for path in dirty[:5])}{' …' * (len(dirty) > 5)}" if dirty else ""
    )
    cost = f"{human(book['seconds'])}, {book['cpu_seconds']:.0f} CPU-s, {book['peak_rss_mb']:,} MB"
    return (
        f"{book['user']} on {book['host']} ({book.get('gpu') or book['cpu']}) · {commit} · {cost} · {book['finished']}"
    )


def _made(root: Path, path: str) -> str:
    place = root / path
    manifest = place / "manifest.json"
    files = json.loads(manifest.read_text(encoding="utf-8"))["files"] if manifest.is_file() else {}
    counted = [entry["rows"] for entry in files.values() if "rows" in entry]
    size = sum(entry["bytes"] for entry in files.values()) if files else place.stat().st_size if place.is_file() else 0
    cells = [path, f"{len(files) or ''}", f"{sum(counted):,}" if counted else "", _size(size)]
    return f"| {' | '.join(cells)} | {_short(run_book.identity(place))} |"


def _checksums(root: Path, paths: Iterable[str]) -> Iterator[str]:
    """Lines of sha256sum for what was made and read, from the root of the repository."""
    for path in paths:
        if found := run_book.identity(root / path):
            yield f"{found}  {path}{'/manifest.json' if (root / path).is_dir() else ''}"


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000


def _short(checksum: str | None) -> str:
    return f"`{checksum[:12]}…`" if checksum else "–"
