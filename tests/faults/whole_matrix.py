"""The whole fault matrix: a checkout at smoke size is built once, copied for each worker, and everything in it killed.

    python -m tests.faults.whole_matrix FOLDER [--workers 2]     # `make faults`

Goes on where it was stopped; the cells lie in FOLDER/cells-*.jsonl, and the table of docs/reliability.md is made of them.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from flows.orchestration.dag import load_dag
from tests.compiled import copy_compiled
from tests.faults import table
from tests.toy.project import Toy
from tests.whole_dag.checkout import ROOT, annotate


def build(folder: Path) -> None:
    """A copy of this checkout with every stage built at smoke size, a checkpoint at every step, dvc.lock committed."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file() and not name.startswith(("metrics/", "plots/")) and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    copy_compiled(ROOT, folder)
    values = yaml.safe_load((ROOT / "tests/smoke.yaml").read_text())
    for section in [*values.values(), *values["distill"]["students"].values()]:
        for training in ("grpo", "sft"):
            if isinstance(section, dict) and training in section:
                section[training]["save_every"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    annotate(folder)
    toy = Toy(folder)
    toy.git("init", "-q")
    process = toy.start(*toy.r1_command("run"), PYTHONPATH=str(folder))
    for line in process.stdout:
        print(line, end="", flush=True)
    if process.wait():
        raise SystemExit(f"{folder} could not be built; see above")
    toy.git("add", "-A")
    toy.git("commit", "-qm", "built at smoke size")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2, help="checkouts in which stages are killed side by side")
    args = parser.parse_args()
    folder = args.folder.resolve()
    if not (folder / "built/.git/HEAD").exists() or not (folder / "built/dvc.lock").exists():
        build(folder / "built")
    stages = list(load_dag(folder / "built").nodes)
    running, files = [], []
    for i in range(args.workers):
        copy, cells = folder / f"worker-{i}", folder / f"cells-{i}.jsonl"
        if not copy.exists():
            shutil.copytree(folder / "built", copy, symlinks=True)
        command = [sys.executable, "-m", "tests.faults.matrix", str(copy), "--out", str(cells), "--stages"]
        running.append(subprocess.Popen([*command, *stages[i :: args.workers]], cwd=ROOT))
        files.append(str(cells))
    failed = sum(bool(process.wait()) for process in running)
    return table.main(files) or failed


if __name__ == "__main__":
    sys.exit(main())
