"""A copy of the checkout with every stage of the real dvc.yaml built once, at the smallest size, for all tests of this folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.compiled import copy_compiled

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture(scope="session")
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
