"""What orchestration costs and gains: a run with nothing to do, the overhead of each stage, two workers against one.

    .venv/bin/python benchmarks/orchestration.py [noop] [overhead] [speedup] [--params FILE] [--repetitions N]

noop      CPU-seconds of `dvc repro` and `r1 run` in this checkout, which must be up to date (`make run`)
overhead  CPU-seconds that a stage costs beyond its own process, under `dvc repro` and `r1 run`, the latter without and
          with a Prefect server; a toy DAG of six stages that do next to nothing
speedup   serial `dvc repro` against `r1 run --jobs 2` on a recipe (default: recipes/cpu.yaml), each in a fresh clone,
          and whether the artifacts are the same; takes two whole builds
Without names: noop and overhead. CPU-seconds count every child process; medians are printed. Exit status 1 where a
limit of docs/ui.md is missed.
"""

import argparse
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
sys.path.insert(0, str(ROOT))
PLANTS = ("oak", "elm", "ash", "yew")  # with `numbers` and `harvest`: six stages
LIMITS = {"noop": 10.0, "r1 run": 2.0, "r1 run, server": 5.0, "speedup": 1.3}


def environment(**more: str) -> dict[str, str]:
    """No settings of the caller's shell, no limits shared with other runs on this machine."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "R1_", "DVC_"))}
    own = {"PATH": f"{BIN}{os.pathsep}{env['PATH']}", "DO_NOT_TRACK": "1", "DVC_NO_ANALYTICS": "1"}
    return env | own | more


def measure(command: list[str], root: Path, **env: str) -> tuple[float, float]:
    """(CPU-seconds, wall seconds) of one run of `command` and all its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=root, env=environment(**env), capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def r1(*words: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli.main", *words]


def noop(repetitions: int) -> bool:
    if subprocess.run([BIN / "dvc", "status", "--quiet"], cwd=ROOT, env=environment(), check=False).returncode:
        sys.exit("something has changed since the last run: this measures runs with nothing to do; `make run` first")
    cpu = {}
    for name, command in (("dvc repro", [str(BIN / "dvc"), "repro"]), ("r1 run", r1("run"))):
        runs = [measure(command, ROOT) for _ in range(repetitions)]
        cpu[name] = statistics.median(c for c, _ in runs)
        print(f"no-op {name:10} {cpu[name]:6.2f} CPU-s  {statistics.median(w for _, w in runs):6.2f} s wall")
    return cpu["r1 run"] < LIMITS["noop"]


def overhead(repetitions: int) -> bool:
    from tests.orchestration.prefect_server import Server
    from tests.toy.project import until

    with tempfile.TemporaryDirectory(prefix="r1-overhead-") as folder:
        template = _many_stages(Path(folder) / "template")
        server = Server(Path(folder) / "prefect")
        try:
            until(server.up, 180, "the Prefect server")
            found = {"alone": [], "dvc repro": [], "r1 run": [], "r1 run, server": []}
            for i in range(repetitions):
                for name, seen in found.items():
                    toy = template.copy(Path(folder) / f"{name.replace(' ', '-')}-{i}")
                    seen.append(_whole_toy(name, toy.root, server.env))
                    print(f"{name:18} {seen[-1]:5.1f} CPU-s, {len(PLANTS) + 2} stages", flush=True)
        finally:
            server.kill()
    stages, alone = len(PLANTS) + 2, statistics.median(found["alone"])
    print(f"a stage alone      {alone / stages:5.2f} CPU-s (`python -m flows.…`, {stages} stages)")
    per_stage = {name: (statistics.median(seen) - alone) / stages for name, seen in found.items() if name != "alone"}
    for name, cost in per_stage.items():
        print(f"{name:18} {cost:+5.2f} CPU-s per stage")
    return all(cost <= LIMITS.get(name, cost) for name, cost in per_stage.items())


def _many_stages(root: Path):
    from tests.toy.project import build

    toy = build(root)
    toy.set("grow.plants", {name: {"steps": 1, "seconds": 0.0} for name in PLANTS})
    return toy


def _whole_toy(name: str, root: Path, server: dict[str, str]) -> float:
    """CPU-seconds of all stages of a project in which nothing is built."""
    own = {"R1_SLOTS_DIR": str(root / ".slots"), "DVC_SITE_CACHE_DIR": str(root / ".site")}
    if name == "dvc repro":
        return measure([str(BIN / "dvc"), "repro"], root, **own)[0]
    if name != "alone":
        return measure(r1("run", "--jobs", "2"), root, **own, **(server if "server" in name else {}))[0]
    from flows.orchestration.dag import load_dag

    commands = [[sys.executable, *node.cmd.split()[1:]] for node in load_dag(root).nodes.values()]
    fixed = {"PYTHONHASHSEED": "0"}
    return sum(measure(command, root, **own, **fixed)[0] for command in commands)


def speedup(params: Path) -> bool:
    made, walls = {}, {}
    with tempfile.TemporaryDirectory(prefix="r1-speedup-") as folder:
        for name, command in (("serial", [str(BIN / "dvc"), "repro"]), ("two workers", r1("run", "--jobs", "2"))):
            root = Path(folder) / name.replace(" ", "-")
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], check=True)
            shutil.copy(params, root / "params.yaml")
            (root / "dvc.lock").unlink(missing_ok=True)
            cpu, walls[name] = measure(
                command, root, R1_SLOTS_DIR=f"{folder}/slots", DVC_SITE_CACHE_DIR=f"{root}/.site"
            )
            stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
            made[name] = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
            print(
                f"{name:12} {walls[name]:7.0f} s wall {cpu:7.0f} CPU-s, {len(stages)} stages ({params.name})",
                flush=True,
            )
            shutil.rmtree(root)
    ratio, same = walls["serial"] / walls["two workers"], made["serial"] == made["two workers"]
    print(f"two workers {ratio:.2f} times as fast; {'the same' if same else 'NOT the same'} {len(made['serial'])} md5s")
    return same and ratio >= LIMITS["speedup"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["noop", "overhead", "speedup", []])
    parser.add_argument("--params", type=Path, default=ROOT / "recipes" / "cpu.yaml")
    parser.add_argument("--repetitions", type=int, default=3)
    asked = parser.parse_args()
    runs = {
        "noop": lambda: noop(asked.repetitions),
        "overhead": lambda: overhead(asked.repetitions),
        "speedup": lambda: speedup(asked.params),
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends too
    missed = [name for name in asked.what or ("noop", "overhead") if not runs[name]()]
    sys.exit(f"limits missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
