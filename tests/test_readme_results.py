"""The README's table of results is that of the committed metrics, number by number."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BETWEEN = "<!-- results -->", "<!-- /results -->"


def test_readme_table_equals_the_committed_metrics():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition(BETWEEN[0])[2].partition(BETWEEN[1])[0]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")][1:]
    metrics = [json.loads(p.read_text()) for p in sorted((ROOT / "metrics/evaluate").glob("*.json"))]
    assert len(rows) == len(metrics) > 0
    wanted = set()
    for m in metrics:
        low, high = m["pass_at_1_ci95"]["low"], m["pass_at_1_ci95"]["high"]
        wanted.add(
            (f"{m['parameters']:,}", f"{100 * m['pass_at_1']:.1f} [{100 * low:.1f}, {100 * high:.1f}]", f"{100 * m['cons_at_k']:.1f}")
        )
    assert {(r[1], r[2], r[4]) for r in rows} == wanted
