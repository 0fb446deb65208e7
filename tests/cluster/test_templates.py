"""The templates of recipes/cluster: Kubernetes' own schemas, sbatch's own options, and every name in them is one of ours."""

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from flows.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "recipes" / "cluster"
SLURM = sorted((FOLDER / "slurm").glob("*.sbatch"))
SCRIPTS = [*SLURM, *sorted(FOLDER.glob("*.sh"))]
MANIFESTS = sorted(p for p in (FOLDER / "kubernetes").glob("*.yaml") if p.name != "kustomization.yaml")
KUSTOMIZATION = FOLDER / "kubernetes" / "kustomization.yaml"
# Of `sbatch --help`, 22.05 and later: the options that these templates use, and what their values look like.
SIZE = r"\d+[KMGT]?"
SBATCH = {
    "job-name": r"[\w-]+", "nodes": r"\d+(-\d+)?", "ntasks": r"\d+", "ntasks-per-node": r"\d+", "cpus-per-task": r"\d+",
    "gpus-per-node": r"([a-z]\w*:)?\d+", "mem": SIZE, "exclusive": None, "time": r"(\d+-)?\d{1,2}(:\d{2}){1,2}",
    "signal": r"B:(USR1|USR2|TERM|INT)@\d+", "requeue": None, "open-mode": r"append|truncate", "output": r"[\w/%.-]+",
}  # fmt: skip


def documents(path: Path) -> list[dict]:
    return list(yaml.safe_load_all(path.read_text()))


ALL = [pytest.param(doc, id=f"{p.stem}-{doc['kind']}") for p in MANIFESTS for doc in documents(p)]


def pods(doc: dict) -> dict | None:
    return doc["spec"]["template"] if doc["kind"] in ("Job", "Deployment") else None


@pytest.mark.parametrize("doc", ALL)
def test_kubernetes_would_take_it(doc):
    kubernetes_validate.validate(doc, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", ["replica", "replicas"], ids=["unknown-key", "wrong-type"])
def test_kubernetes_would_not_take_a_mistake(name):
    worker = documents(FOLDER / "kubernetes" / "worker.yaml")[0]
    worker["spec"][name] = "many"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(worker, kubernetes_validate.latest_version(), strict=True)


def test_the_manifests_belong_together():
    found = [doc for path in MANIFESTS for doc in documents(path)]
    claims = {d["metadata"]["name"] for d in found if d["kind"] == "PersistentVolumeClaim"}
    services = {d["metadata"]["name"]: d["spec"] for d in found if d["kind"] == "Service"}
    labels = [pods(d)["metadata"]["labels"] for d in found if pods(d) and "metadata" in pods(d)]
    for doc in filter(pods, found):
        spec = pods(doc)["spec"]
        volumes = {v["name"]: v for v in spec["volumes"]}
        assert {
            v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v
        } <= claims
        for container in spec["containers"]:
            assert {m["name"] for m in container["volumeMounts"]} == set(volumes), "every volume mounted, none made up"
            for env in container.get("env", ()):
                for host in re.findall(r"http://([\w-]+):(\d+)/api", env.get("value", "")):
                    assert services[host[0]]["ports"][0]["port"] == int(host[1])
        if doc["kind"] == "Deployment":
            assert doc["spec"]["selector"]["matchLabels"].items() <= pods(doc)["metadata"]["labels"].items()
    assert all(any(spec["selector"].items() <= of.items() for of in labels) for spec in services.values())
    train = next(d for d in found if d["kind"] == "Job" and d["metadata"]["name"] == "r1-train")
    main = {e["name"]: e.get("value") for e in pods(train)["spec"]["containers"][0]["env"]}["R1_MAIN_ADDRESS"]
    assert main == f"{train['metadata']['name']}-0.{pods(train)['spec']['subdomain']}"
    resources = yaml.safe_load(KUSTOMIZATION.read_text())["resources"]
    assert all((KUSTOMIZATION.parent / name).is_file() for name in resources)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: `kubectl kustomize` was not run")
def test_kustomize_puts_everything_into_the_namespace():
    built = subprocess.run(["kubectl", "kustomize", KUSTOMIZATION.parent], check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    made = list(yaml.safe_load_all(built.stdout))
    assert {d["kind"] for d in made} == {"Namespace", "PersistentVolumeClaim", "Service", "Deployment"}
    assert all(d["metadata"].get("namespace") == "r1flow" for d in made if d["kind"] != "Namespace")


@pytest.mark.parametrize("path", [*SCRIPTS, *MANIFESTS], ids=lambda p: p.name)
def test_what_they_call_exists(path):
    text = path.read_text()
    assert {w for w in re.findall(r"\.venv/bin/r1 ([a-z]+)", text)} <= set(COMMANDS)
    code = "".join(p.read_text() for top in ("flows", "tasks") for p in (ROOT / top).rglob("*.py"))
    ours = set(re.findall(r"\bR1_[A-Z_]+\b", text)) - {"R1_MEETING"}  # that one is everywhere.sh's own
    assert all(f'"{name}"' in code for name in ours), ours
    for other in re.findall(r"recipes/[\w/]+\.(?:sh|yaml|sbatch)", text):
        assert (ROOT / other).is_file(), other
    for name in re.findall(r"accelerate: (\w+)", text):
        assert (ROOT / "recipes" / "accelerate" / f"{name}.yaml").is_file(), name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_bash_can_read_it(path):
    assert path.read_text().startswith("#!/usr/bin/env bash\n") and "set -euo pipefail" in path.read_text()
    assert subprocess.run(["bash", "-n", path], check=False, capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("path", [p for p in MANIFESTS if "bash" in p.read_text()], ids=lambda p: p.name)
def test_bash_can_read_what_stands_in_manifests(path):
    for doc in filter(pods, documents(path)):
        for container in pods(doc)["spec"]["containers"]:
            if container["command"][:1] == ["bash"]:
                assert container["command"] == ["bash", "-euc"] and len(container["args"]) == 1
                done = subprocess.run(
                    ["bash", "-n", "-c", container["args"][0]], check=False, capture_output=True, text=True
                )
                assert done.stderr == ""


def directives(text: str) -> dict[str, str | None]:
    """The options of a batch script as sbatch reads them: comments up to the first line that is none."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            break
        if line.startswith("#SBATCH"):
            option = re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line)
            assert option, line
            assert option[1] not in found, f"{option[1]} stands twice"
            found[option[1]] = option[2]
    return found


@pytest.mark.parametrize("path", SLURM, ids=lambda p: p.name)
def test_sbatch_would_read_every_option(path):
    found = directives(path.read_text())
    assert len(found) == path.read_text().count("\n#SBATCH"), (
        "one stands below the first command, where sbatch ignores it"
    )
    for name, value in found.items():
        assert name in SBATCH, name
        assert (value is None) if SBATCH[name] is None else re.fullmatch(SBATCH[name], value or ""), f"--{name}={value}"
    assert {"nodes", "time", "output", "requeue"} <= set(found)


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="sbatch is not installed: no template was shown to a Slurm")
@pytest.mark.parametrize("path", SLURM, ids=lambda p: p.name)
def test_sbatch_reads_it(path):
    """A cluster may be too small for the template; that is its answer, not a mistake in the file."""
    done = subprocess.run(["sbatch", "--test-only", path, "prompts"], check=False, capture_output=True, text=True)
    assert done.returncode == 0 or "allocation failure" in done.stderr, done.stderr
