"""Every stage of the real dvc.yaml, once, at the smallest size: built by the pipeline, then nothing left to do.

The checkout is copied, so nothing here touches the artifacts of the one under test.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.orchestration.dag import load_dag
from tests.compiled import copy_compiled

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
REAL = {
    "gsm8k": {"path": "gsm8k/train.jsonl", "columns": {"text": "question", "gold": "answer"}, "gold_pattern": r"####\s*(.+)$"},
    "math-train": {"path": "math-train/math.json", "columns": {"text": "problem", "gold": "answer"}},
}


def command(folder: Path, *words: str) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC", "R1_", "PREFECT"))}
    env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "PYTHONPATH": str(folder), "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=900)


def annotate(folder: Path) -> None:
    """Eight rows as a person would have edited them, on prompts of the train split."""
    from tasks.curation.annotation import Annotation, write_annotations
    from tasks.prompts.running_sums import problems
    from tasks.prompts.split import held_out
    from tasks.rows import derive_seed

    rows = []
    for item in problems(derive_seed(0, "prompts", "running-sums"), 240):
        if not held_out(item.text):
            what = {"prompt": item.text, "gold": item.gold, "text": "?", "edited": item.solution, "verdict": "edit"}
            rows.append(Annotation(id=f"r{item.index}", prompt_id="p", annotator="a test", **what))
    write_annotations(folder / "data/annotations/cold_start.jsonl", rows[:8])


def add_real_sources(params: Path) -> None:
    """gsm8k and math-train beside the procedural sources, as a user would add them; ours to read, not to copy."""
    values = yaml.safe_load(params.read_text())
    for name, entry in REAL.items():
        path = str(SHARED / entry["path"])
        values["prompts"]["sources"].append({"name": name, "domain": "maths", "licence": "MIT", "limit": 60} | entry | {"path": path})
    values["candidates"] |= {"sources": ["running-sums", *REAL], "prompts": 60}
    values["evaluate"] |= {"sources": ["running-sums", *REAL], "problems": 24}
    params.write_text(yaml.safe_dump(values, sort_keys=False))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of the checkout with everything built at smoke size."""
    folder = tmp_path_factory.mktemp("whole") / "r1flow"
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, files):
        if (ROOT / name).is_file() and not name.startswith(("metrics/", "plots/")) and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    copy_compiled(ROOT, folder)
    shutil.copy(ROOT / "tests/smoke.yaml", folder / "params.yaml")
    if SHARED.is_dir():
        add_real_sources(folder / "params.yaml")
    annotate(folder)
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "smoke"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    run = command(folder, sys.executable, "-m", "flows.cli.main", "run", "--jobs", "2")
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-3000:]
    return folder, run


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
