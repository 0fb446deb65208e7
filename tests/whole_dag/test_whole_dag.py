"""Every stage of the real dvc.yaml, once, at the smallest size: built by the pipeline, then nothing left to do.

The checkout is copied, so nothing here touches the artifacts of the one under test.
"""

import inspect
import json
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.main import app
from flows.orchestration.dag import load_dag
from tests.whole_dag.checkout import REAL, SHARED, command


def test_every_stage_left_its_outputs_and_a_manifest(built):
    folder, _ = built
    dag = load_dag(folder, yaml.safe_load((folder / "params.yaml").read_text()))
    for node in dag.nodes.values():
        for path in (*node.outs, *node.metrics, *node.plots):
            assert (folder / path).exists(), f"{node.stage}: {path}"
        for path in node.outs:
            if (folder / path).is_dir() and path.startswith("data/"):
                manifest = json.loads((folder / path / "manifest.json").read_text())
                assert {"stage", "seed", "code", "params", "files"} <= manifest.keys()
    assert len(yaml.safe_load((folder / "dvc.lock").read_text())["stages"]) == len(dag.nodes)


def test_the_run_ends_with_the_main_table_and_the_report(built):
    folder, run = built
    assert "pass@1" in run.stdout and "report/index.html" in run.stdout
    page = (folder / "report/index.html").read_text()
    assert "<img" in page or "<svg" in page
    assert (folder / "report/results.json").is_file() and (folder / "report/report.md").is_file()


def test_a_second_repro_has_nothing_to_do(built):
    folder, _ = built
    again = command(folder, sys.executable, "-m", "dvc", "repro")
    assert again.returncode == 0 and "Data and pipelines are up to date" in again.stdout + again.stderr
    assert "Running stage" not in again.stdout


def test_evaluation_metrics_have_their_names_and_their_protocol(built):
    folder, _ = built
    names = {
        "pass_at_1", "pass_at_1_ci95", "pass_at_k", "cons_at_k", "format_rate", "language_consistency", "mean_length",
        "truncation_rate", "protocol",
    }  # fmt: skip
    shown = command(folder, sys.executable, "-m", "dvc", "metrics", "show", "--json")
    assert shown.returncode == 0, shown.stderr
    files = json.loads(shown.stdout)[""]["data"]
    evaluated = [v["data"] for path, v in files.items() if path.startswith("metrics/evaluate/")]
    assert len(evaluated) == 6
    assert names <= json.loads((folder / "metrics/evaluate/r1.json").read_text()).keys()
    for metrics in evaluated:
        assert names - {"language_consistency"} <= metrics.keys()  # null at this size (no words), and DVC drops nulls
        assert metrics["pass_at_1_ci95"].keys() == {"low", "high"}
        assert {"k", "seed", "template_hash", "temperature", "top_p", "max_tokens", "split"} <= metrics["protocol"].keys()


def test_one_reward_weight_makes_only_its_dependents_stale(built):
    folder, _ = built
    params = folder / "params.yaml"
    text = params.read_text()
    try:
        values = yaml.safe_load(text)
        values["dev2"]["rewards"]["language"] = 0.3
        params.write_text(yaml.safe_dump(values, sort_keys=False))
        status = command(folder, sys.executable, "-m", "dvc", "status", "--json")
        assert set(json.loads(status.stdout)) == {"dev2"}
        dag = load_dag(folder, yaml.safe_load(params.read_text()))
        below = set(dag.select(["dev2"], downstream=True))
        assert {"r1", "candidates", "distill@qwen"} <= below
        assert not {"prompts", "base", "r1_zero", "dev1", "student_rl", "reward_models"} & below
    finally:
        params.write_text(text)


def test_every_candidate_is_kept_or_rejected_with_a_rule(built):
    folder, _ = built
    from tasks.provenance.artifacts import read_rows

    candidates = {r["id"] for r in read_rows(folder / "data/09_candidates", "candidates")}
    decisions = read_rows(folder / "data/11_reasoning", "decisions")
    kept = {r["completion_id"] for r in read_rows(folder / "data/11_reasoning", "examples")}
    rejected = {d["row_id"] for d in decisions if not d["keep"]}
    assert {d["row_id"] for d in decisions} == candidates
    assert kept | rejected == candidates and not kept & rejected


def test_the_final_split_is_in_no_training_set(built):
    folder, _ = built
    from tasks.provenance.artifacts import read_rows

    final = {r["text"] for r in read_rows(folder / "data/01_final", "final")}
    for name in ("06_cold_start", "11_reasoning", "12_non_reasoning", "13_sft_data"):
        assert not final & {r["prompt"] for r in read_rows(folder / "data" / name, "examples")}, name
    assert not final & {r["text"] for r in read_rows(folder / "data/01_prompts", "train")}


def test_what_the_form_of_contamination_names_can_be_compared(built, monkeypatch):
    from flows.orchestration import deployments

    names = inspect.signature(deployments.contamination.fn).parameters
    monkeypatch.chdir(built[0])
    done = CliRunner().invoke(app, ["contamination", names["a"].default, names["b"].default, "--json"])
    assert done.exit_code == 0, done.output
    exact = next(line for line in json.loads(done.stdout)["table"] if line["overlap"] == "exact")
    assert exact["items"] == exact["rows"] == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real inputs at {SHARED}; R1_SHARED_DATA names another folder")
def test_real_rows_flow_are_verified_counted_and_traceable(built):
    folder, _ = built
    from tasks.provenance.artifacts import read_rows

    prompts = {r["id"]: r for r in read_rows(folder / "data/01_prompts", "train")}
    counts = json.loads((folder / "metrics/prompts.json").read_text())["sources"]
    candidates = read_rows(folder / "data/09_candidates", "candidates")
    verdicts = {v["completion_id"]: v for v in read_rows(folder / "data/10_verdicts", "verdicts")}
    decided = {d["row_id"] for d in read_rows(folder / "data/11_reasoning", "decisions")}
    problems = read_rows(folder / "data/20_evaluate/base", "problems")
    for name, entry in REAL.items():
        told = counts[name]
        assert told["rows"] == 60 == told["kept"] + sum(told["dropped"].values())
        mine = [c for c in candidates if prompts[c["prompt_id"]]["source"] == name]
        assert mine and all(c["id"] in decided and verdicts[c["id"]]["status"] in ("ok", "wrong", "unparsable") for c in mine)
        assert all(Path(entry["path"]).name in prompts[c["prompt_id"]]["origin"] for c in mine)
    assert {"gsm8k", "math-train"} & {p["source"] for p in problems}
