"""The report in Markdown, for the README: every number in it stands in results.json."""

from collections.abc import Mapping, Sequence

from tasks.reporting import tables
from tasks.reporting.tables import Table

MAIN = ("<!-- main table -->", "<!-- /main table -->")


def table(t: Table) -> str:
    """A GitHub table; pipes in cells are escaped."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

    rule = "|" + "|".join("---" if i in t.text else "---:" for i in range(len(t.header))) + "|"
    body = "\n".join([line(t.header), rule, *map(line, t.rows)])
    return f"{body}\n\n{t.note}" if t.note else body


def main_table(markdown: str) -> str:
    """What stands between the markers of the main table in a rendered report."""
    before, found, rest = markdown.partition(MAIN[0])
    if not found or MAIN[1] not in rest:
        raise ValueError(f"no main table between {MAIN[0]} and {MAIN[1]}: rebuild the report with `r1 run report`")
    return rest.partition(MAIN[1])[0].strip()


def render(results: Mapping, figures: Sequence[str]) -> str:
    """report.md: main table, by stage, differences, distillation, expectations, what RL elicited, limits."""
    parts = [
        f"# Report card: recipe `{results['recipe']}`, seed {results['seed']}",
        f"{MAIN[0]}\n{table(tables.main(results))}\n{MAIN[1]}",
    ]
    if results["by_stage"]:
        parts += [
            "## By stage, beside the paper's table 2",
            _picture("by_stage", "pass@1 and language consistency by stage, ours and the paper's", figures),
            table(tables.by_stage(results)),
        ]
    if results["differences"]:
        parts += ["## Paired differences", table(tables.differences(results, results["differences"]))]
    if results["students"]:
        parts += [
            "## Distillation against RL",
            _picture("students", "pass@1 of each student by how it was trained", figures),
            table(tables.students(results)),
        ]
        parts += [
            _list(
                [c["reading"] for s in results["students"] for c in s["comparisons"]]
                + [s["teacher"] for s in results["students"] if s["teacher"]]
            )
        ]
    if results["curves"]:
        parts += [
            "## What RL did",
            *(
                _picture(f"curves_{c['stage'].replace('/', '_')}", f"RL curves of {c['label']}", figures)
                for c in results["curves"]
            ),
        ]
        parts += [_list([c["sentence"] for c in results["curves"]])]
    if results["elicitation"]:
        parts += [
            "## What RL elicited",
            _picture("elicitation", "before and after RL", figures),
            _list([s for e in results["elicitation"][:1] for s in e["sentences"]]),
        ]
    if results["funnel"]:
        parts += [
            "## From candidates to the reasoning set",
            _picture("funnel", "candidates, rejections by rule, kept", figures),
            table(tables.funnel(results)),
        ]
    parts += ["## Expectations", table(expectations(results))]
    parts += ["## Limits", _list([*results["limits"], *results["notes"]])]
    return "\n\n".join(p for p in parts if p) + "\n"


def expectations(results: Mapping) -> Table:
    rows = tuple((e["expectation"], e["value"], "met" if e["met"] else "**not met**") for e in results["expectations"])
    return Table(("expectation", "value", ""), rows, "", frozenset({0, 1, 2}))


def _picture(name: str, alt: str, figures: Sequence[str]) -> str:
    return f"![{alt}](figures/{name}.png)" if name in figures else ""


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
