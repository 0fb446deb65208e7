"""docs/reliability.md from the cells of the fault matrix: the section "The fault matrix", between its two comments.

    python -m tests.faults.table cells.jsonl …

A cell that was tried says what was left and how it went; one that was not says so.
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

import yaml

from flows.orchestration.dag import load_dag

PAGE = Path(__file__).resolve().parents[2] / "docs/reliability.md"
BEGIN, END = "<!-- fault matrix: made by tests/faults/table.py -->", "<!-- /fault matrix -->"
GROUPS = {
    "start": ("start",),
    "middle": ("body", "seal"),
    "publish": ("link", "between", "exchanged", "cleaning"),
    "dvc records": ("cache", "lock"),
}
TARGETS = ("stage", "dvc", "flow", "group")


def table(cells: list[dict]) -> str:
    """Markdown: a row for each stage, a column for each part of its life; which targets were killed there, and how it ended."""
    by_stage: dict[str, list[dict]] = defaultdict(list)
    for cell in cells:
        by_stage[cell["stage"]].append(cell)
    lines = [
        "| stage | " + " | ".join(GROUPS) + " | run again |",
        "|---|" + "---|" * (len(GROUPS) + 1),
    ]
    for stage, own in by_stage.items():
        columns = [_column([c for c in own if c["moment"] in moments]) for moments in GROUPS.values()]
        again = [c for c in own if c["moment"] == "again"]
        wrong = [words for c in again for words in c["wrong"]]
        end = "not finished" if not again else "**" + "; ".join(wrong) + "**" if wrong else "same md5s"
        lines.append(f"| `{stage}` | " + " | ".join(columns) + f" | {end} |")
    return "\n".join(lines)


def _column(cells: list[dict]) -> str:
    if not cells:
        return "not tried"
    bad = [f"{c['target']} at {c['moment']}: {'; '.join(c['wrong'])}"[:160] for c in cells if c["wrong"]]
    kept = [t for t in TARGETS if any(c["target"] == t and not c["wrong"] for c in cells)]
    return "; ".join([", ".join(kept) + " ✓"] * bool(kept) + [f"**{words}**" for words in bad])


def summary(cells: list[dict]) -> str:
    """What was counted over all cells."""
    kills = [c for c in cells if c["moment"] != "again"]
    wrong = sum(bool(c["wrong"]) for c in cells)
    left = sum((Counter(c["left"]) for c in kills), Counter())
    gone = max((c["seconds"] for c in kills if not c["wrong"]), default=0.0)
    stages = len({c["stage"] for c in cells})
    return (
        f"{len(kills)} kills of {stages} stages; {wrong} {'cell' if wrong == 1 else 'cells'} not as promised. "
        f"Looked at after each kill: {left['whole']} declared paths held a whole artifact, {left['absent']} nothing, "
        f"{left['half']} half of one. Nothing of a killed run was alive more than {gone:.1f} s later."
    )


def main(files: list[str]) -> int:
    cells = [json.loads(line) for file in files for line in Path(file).read_text().splitlines()]
    smoke = yaml.safe_load((PAGE.parents[1] / "tests/smoke.yaml").read_text())
    rest = [f"`{s}`" for s in load_dag(PAGE.parents[1], smoke).nodes if s not in {c["stage"] for c in cells}]
    untried = f"\n\nNot in this table yet: {', '.join(rest)}." if rest else ""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{summary(cells)}\n\n{table(cells)}{untried}\n{END}{after}", encoding="utf-8")
    return 1 if any(c["wrong"] for c in cells) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
