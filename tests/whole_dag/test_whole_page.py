"""The page of every stage of the recipe, built: nothing that cannot be shown, and each kind of stage shows what it should."""

import json

import pyarrow.parquet as pq
import pytest
import yaml

from flows.orchestration.dag import load_dag
from flows.orchestration.page import page


@pytest.fixture(scope="module")
def root(built):
    return built[0]


@pytest.fixture(scope="module")
def pages(root):
    """stage -> key -> what is shown; and everything that could not be."""
    said, dag = [], load_dag(root)
    return {s: {p.key: p for p in page(root, dag[s], say=said.append)} for s in dag.nodes}, said


def test_every_stage_shows_everything_it_has(pages, root):
    found, said = pages
    built = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    assert not said and found.keys() == built.keys()
    for stage, node in load_dag(root).nodes.items():
        assert "lineage" in found[stage]
        assert ("metrics" in found[stage], "curve" in found[stage]) == (bool(node.metrics), bool(node.plots)), stage
    assert found["report"]["report"].data.startswith("| model | parameters | pass@1 |")


@pytest.mark.parametrize(
    ("stage", "table"),
    [
        ("prompts", "01_prompts/train"),
        ("cold_start", "06_cold_start/examples"),
        ("candidates", "09_candidates/candidates"),
        ("verdicts", "10_verdicts/verdicts"),
        ("reasoning", "11_reasoning/examples"),
        ("preferences", "15_preferences/pairs"),
        ("evaluate@r1", "20_evaluate/r1/samples"),
    ],
)
def test_samples_come_from_the_table_that_tells_most(pages, root, stage, table):
    if not pq.read_metadata(root / f"data/{table}.parquet").num_rows:  # models this small may never be right
        assert stage == "reasoning" and "rollouts" not in pages[0][stage]
        return
    shown = pages[0][stage]["rollouts"]
    assert f"rows of {table.removeprefix('20_evaluate/')}" in shown.description and shown.data.count("*prompt*") >= 1


def test_verdicts_stand_beside_prompt_and_completion(pages):
    said = pages[0]["verdicts"]["rollouts"].data
    assert said.count("*prompt*") == said.count("*completion*") == 6


@pytest.mark.parametrize("stage", ["cold_start", "reasoning", "sft_data"])
def test_funnels_agree_with_the_metrics(pages, root, stage):
    metrics = json.loads((root / f"metrics/{stage}.json").read_text())
    kept = metrics.get("kept", metrics.get("rows", metrics.get("examples")))
    assert pages[0][stage]["funnel"].description.startswith(f"{kept:,} of ")
