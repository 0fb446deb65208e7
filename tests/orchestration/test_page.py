"""What a stage's page shows, of artifacts written with the real writers: numbers that add up, texts that stay texts."""

import base64
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

from flows.orchestration.dag import load_dag
from flows.orchestration.page import Shown, page
from flows.orchestration.publish import as_csv
from tasks.provenance.artifacts import write_manifest, write_rows
from tasks.reporting import inline_svg
from tasks.rows import COMPLETION, DECISION, PROMPT, VERDICT

RECIPE = """
stages:
  prompts:
    cmd: python -m flows.prompts
    outs: [data/01_prompts]
  candidates:
    desc: "Candidates: four of each"
    cmd: python -m flows.candidates
    params: [seed, candidates]
    deps: [flows/candidates.py, data/01_prompts]
    outs: [data/02_candidates]
    metrics: [{metrics/candidates.json: {cache: false}}]
    plots: [{plots/candidates.csv: {cache: false}}]
"""
ESCAPE = "````\n<script>alert(1)</script>\n# a heading\n```\nafter"


@pytest.fixture
def root(tmp_path):
    """A checkout of two built stages: 3 prompts, 12 completions, their verdicts and decisions, a curve."""
    (tmp_path / "dvc.yaml").write_text(RECIPE)
    (tmp_path / "params.yaml").write_text("seed: 3\ncandidates: {samples: 4}\n")
    prompts = [
        dict.fromkeys(PROMPT.names) | {"id": f"prompt_{i}", "text": f"What is {i}?", "gold": f"{i}"} for i in range(3)
    ]
    write_rows(tmp_path / "data/01_prompts", "train", prompts, PROMPT)
    write_manifest(tmp_path / "data/01_prompts", stage="prompts")
    made = tmp_path / "data/02_candidates"
    rows = [
        dict.fromkeys(COMPLETION.names)
        | {"id": f"completion_{i}", "prompt_id": f"prompt_{i % 3}", "text": ESCAPE, "tokens": 7, "finish": "stop"}
        for i in range(12)
    ]
    verdicts = [
        dict.fromkeys(VERDICT.names) | {"completion_id": r["id"], "prompt_id": r["prompt_id"], "status": "wrong"}
        for r in rows
    ]
    decisions = [
        {"row_id": r["id"], "stage": "filters", "rule": rule, "value": 0.0, "threshold": 0.0, "keep": i not in bad}
        for i, r in enumerate(rows)
        for rule, bad in (("too_long", {1, 2}), ("copied", {2, 3, 4}))
    ]
    write_rows(made, "candidates", rows, COMPLETION)
    write_rows(made, "verdicts", verdicts, VERDICT)
    write_rows(made, "decisions", decisions, DECISION)
    write_manifest(made, stage="candidates")
    for folder in ("metrics", "plots"):
        (tmp_path / folder).mkdir()
    metrics = {"rows": 12, "gate": {"accuracy": 0.123456, "ci95": [0.1, 0.2]}, "sure": None, "table": [{"a": 1}]}
    (tmp_path / "metrics/candidates.json").write_text(json.dumps(metrics))
    curve = [{"step": i, "reward": 0.1 * i, "kl": None, "learning_rate": 1e-3} for i in range(1, 6)]
    (tmp_path / "plots/candidates.csv").write_text(as_csv(curve))
    return tmp_path


def shown(root, **more) -> dict[str, Shown]:
    return {part.key: part for part in page(root, load_dag(root)["candidates"], **more)}


def picture(markdown: str) -> ET.Element:
    found = re.search(r"!\[[^\]]*\]\(data:image/svg\+xml;base64,([^)]+)\)", markdown)
    return ET.fromstring(base64.b64decode(found[1]))


def texts(svg: ET.Element) -> list[str]:
    return [e.text for e in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_metrics_are_flat_and_what_is_no_value_is_left_out(root):
    table = shown(root)["metrics"]
    assert (table.type, table.data) == (
        "table",
        [
            {"metric": "rows", "value": 12},
            {"metric": "gate.accuracy", "value": "0.1235"},
            {"metric": "gate.ci95", "value": "0.1, 0.2"},
            {"metric": "sure", "value": "–"},
        ],
    )


def test_the_curve_has_a_panel_for_each_column_with_values(root):
    svg = picture(shown(root)["curve"].data)
    titles = [t for t in texts(svg) if ":" in t]
    assert titles == ["reward: 0.5", "learning rate: 0.001"]
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}polyline"))) == 4, "raw and smoothed, of two columns"


def test_the_funnel_counts_the_first_reason_and_adds_up(root):
    funnel = shown(root)["funnel"]
    assert funnel.description == "8 of 12 rows kept by candidates"
    assert (
        "| filters | too_long | 2 | 16.67% | 10 |" in funnel.data
        and "| filters | copied | 2 | 16.67% | 8 |" in funnel.data
    )
    assert [t for t in texts(picture(funnel.data)) if "%" in t] == ["−2 (16.7%)", "−2 (16.7%)", "8 (66.7%)"]


def test_a_ledger_of_rejects_alone_says_nothing_of_what_entered(root):
    made = root / "data/02_candidates"
    row = {"row_id": "x", "stage": "prompts", "rule": "duplicate", "value": 1.0, "threshold": 0.0, "keep": False}
    write_rows(made, "decisions", [row], DECISION)
    write_manifest(made)
    assert shown(root)["funnel"].data == "| step | rule | rejected |\n|---|---|--:|\n| prompts | duplicate | 1 |\n"


def test_the_metrics_funnel_is_the_one_that_counts(root):
    rules = [{"step": "selection", "rule": "verdict", "rejected": 3, "failed": 5}]
    (root / "metrics/candidates.json").write_text(json.dumps({"candidates": 9, "funnel": rules}))
    assert "| selection | verdict | 3 | 33.33% | 6 |" in shown(root)["funnel"].data


def test_sample_rows_show_prompt_verdict_and_gold_and_no_text_becomes_markup(root):
    said = shown(root)["rollouts"].data
    assert said.startswith("### 6 of 12 rows of 02_candidates/candidates")
    assert "wrong · extracted – · gold `1` · 7 tokens, stop · `completion_1`" in said and "What is 1?" in said
    outside, fence = [], None
    for line in said.split("\n"):  # as CommonMark reads fences: closed by one that is as long, with nothing behind it
        mark = re.match("(`{3,})(.*)", line)
        if fence is None and mark:
            fence = mark[1]
        elif fence and mark and len(mark[1]) >= len(fence) and not mark[2].strip():
            fence = None
        elif fence is None:
            outside.append(line)
    assert fence is None and not [line for line in outside if "script" in line or "heading" in line or "after" in line]


def test_long_texts_are_cut_and_said_to_be(root):
    rollouts = [{"prompt": "p", "completion": "word " * 1000, "reward": 0.5, "accuracy": 1.0, "advantage": -0.25}]
    said = shown(root, rollouts=rollouts)["rollouts"].data
    assert "reward 0.5 · accuracy 1 · advantage -0.25" in said and "and 3,500 characters more" in said
    assert max(map(len, said.split("\n"))) < 100, "nothing to scroll for"


def test_checksums_hold_and_makers_are_linked(root):
    def linked(stages):
        assert list(stages) == ["prompts"]
        return {"prompts": "/artifacts/artifact/7"}

    said = shown(root, linked=linked)["lineage"].data
    assert "| data/01_prompts | [prompts](/artifacts/artifact/7) |" in said and "### Candidates: four of each" in said
    assert "candidates:\n  samples: 4\n" in said and "| data/02_candidates | 3 | 48 |" in said
    sums = said.split("```text\n")[1].split("```")[0]
    check = subprocess.run(["sha256sum", "-c"], cwd=root, input=sums, text=True, capture_output=True, check=True)
    assert check.stdout.count(": OK") == len(sums.splitlines()) == 4
    assert "[prompts]" not in shown(root)["lineage"].data, "no link to a page that does not exist"


def test_what_is_damaged_is_said_and_the_rest_is_shown(root):
    (root / "data/02_candidates/candidates.parquet").write_bytes(b"PAR1 no longer")
    (root / "metrics/candidates.json").write_text("{")
    said = []
    assert set(shown(root, say=said.append)) == {"curve", "lineage"}
    assert [line.split(":")[0] for line in said] == [
        f"[candidates] cannot show its {x}" for x in ("metrics", "funnel", "rollouts")
    ]


def test_a_stage_without_anything_has_its_lineage(root):
    shutil.rmtree(root / "plots")
    (root / "metrics/candidates.json").unlink()
    for path in (root / "data/02_candidates").glob("*.parquet"):
        path.unlink()
    write_manifest(root / "data/02_candidates")
    assert set(shown(root)) == {"lineage"}


@pytest.mark.parametrize(
    ("rows", "panels"),
    [
        ([], None),
        ([{"step": 1, "loss": 2.0}], None),
        ([{"step": 1, "loss": float("nan")}, {"step": 2, "loss": None}], None),
        ([{"step": 1, "loss": 0.0}, {"step": 1, "loss": 0.0}], ["loss: 0"]),
        ([{"step": i, "loss": -1e9 * i} for i in range(5000)], ["loss: -5e+03G"]),
        ([{"step": i, **{f"c{j}": i for j in range(20)}} for i in (1, 2)], [f"c{j}: 2" for j in range(9)]),
        ([{"step": i, "<b>&": i} for i in (1, 2)], ["<b>&: 2"]),
    ],
    ids=["none", "one row", "no numbers", "flat", "many and large", "too many columns", "odd name"],
)
def test_curves(rows, panels):
    svg = inline_svg.curves(rows)
    assert (svg is None) == (panels is None)
    if svg:
        assert [t for t in texts(ET.fromstring(svg)) if ":" in t] == panels
        assert len(svg) < 40_000
