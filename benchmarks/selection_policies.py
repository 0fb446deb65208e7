"""What every policy in recipes/selection keeps of two sets of real graded outputs, and why the rest is rejected.

    .venv/bin/python benchmarks/selection_policies.py [--set NAME] [--policy NAME] [--keep FOLDER]

Sets, from shared data (R1_SHARED_DATA):
gsm8k: 1,319 problems, each with the outputs of seven models (gsm8k-model-solutions, zeroeval-math, tora-outputs);
reasoning-gym: 15,150 outputs of DeepSeek-R1, three a problem, in 13 categories, scored by their own verifiers.
`probe_pass_rate` is the share of right answers of the four models of gsm8k-model-solutions, or of DeepSeek-R1 itself.
`--keep` leaves the sets there as JSON lines, and the results as `r1 curate SET.jsonl --policy NAME` makes them.
"""

import argparse
import json
import os
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
PROBLEMS = ("deepscaler", "bigmath")  # policies on problems: the text that they read is the problem
VARIANTS = {  # what a policy asks for and these sets cannot give, lowered to what they have
    "r1": ("without thought", {"filters": {"thought": False}}),
    "limo": ("at_most 0.25", {"selection": {"bands": [{"column": "probe_pass_rate", "above": 0, "at_most": 0.25}]}}),
    "skywork-or1": ("min_samples 3", {"selection": {"min_samples": 3}}),
}


def row(problem: str, index: int, text: str, right: bool, **columns) -> dict:
    verdict = "ok" if right else "wrong"
    return {"id": f"{problem}/{columns['source']}/{index}", "prompt_id": problem, "index": index, "text": text,
            "verdict": verdict, **columns}  # fmt: skip


def same_number(gold: str, answer: str) -> bool:
    found = NUMBER.findall(answer)
    return bool(found) and float(found[-1].replace(",", "")) == float(gold.replace(",", ""))


def gsm8k() -> Iterator[dict]:
    """Verdicts are the published flags, or the last number against the gold."""
    zeroeval = {
        p.stem: {r["id"]: r for r in json.loads(p.read_text())} for p in (SHARED / "zeroeval-math/gsm").glob("*.json")
    }
    tora = [json.loads(line) for line in next((SHARED / "tora-outputs").glob("*.jsonl")).open(encoding="utf-8")]
    solved = (SHARED / "gsm8k-model-solutions" / "example_model_solutions.jsonl").open(encoding="utf-8")
    for i, line in enumerate(solved):
        given, problem = json.loads(line), f"gsm8k-{i:04}"
        gold = tora[i]["gt"]
        outputs = [(name, given[name]["solution"], bool(given[name]["is_correct"])) for name in MODELS]
        probe = sum(right for _, _, right in outputs) / len(MODELS)
        outputs.append(("tora-70b", tora[i]["code"][0], same_number(gold, str(tora[i]["pred"][0]))))
        for name, rows in sorted(zeroeval.items()):
            output = rows[f"gsm8k-main-test-#{i}"]["output"][0]
            outputs.append((name, output, same_number(gold, output.rpartition('"answer"')[2])))
        for index, (name, text, right) in enumerate(outputs):
            yield row(
                problem,
                index,
                text,
                right,
                source=name,
                domain="maths",
                prompt=given["question"],
                probe_pass_rate=probe,
            )


def reasoning_gym() -> Iterator[dict]:
    """Right is a full score."""
    with tarfile.open(SHARED / "reasoning-gym-eval-r1" / "easy.tar.gz") as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            task = json.load(archive.extractfile(member)) if member.name.endswith(".json") else {}
            for i, result in enumerate(task.get("results", [])):
                scores = [c["score"] for c in result["completions"]]
                probe = sum(s == 1 for s in scores) / len(scores) if scores else None
                for index, c in enumerate(result["completions"]):
                    problem = f"{task['category']}/{task['name']}/{i}"
                    yield row(problem, index, c["full_model_response"] or "", c["score"] == 1, source=task["name"],
                              domain=task["category"], prompt=result["question"], probe_pass_rate=probe)  # fmt: skip


SETS = {"gsm8k": gsm8k, "reasoning-gym": reasoning_gym}


def runs(chosen: str | None) -> Iterator[tuple[str, dict]]:
    for path in sorted((ROOT / "recipes" / "selection").glob("*.yaml")):
        if chosen in (None, path.stem):
            yield path.stem, {}
            if path.stem in VARIANTS:
                yield path.stem, VARIANTS[path.stem][1]


def varied(policy, changes: dict):
    values = policy.model_dump()
    for section, new in changes.items():
        values[section] |= new
    return type(policy).model_validate(values)


def main() -> None:
    from tasks.curation.curate import curate
    from tasks.curation.policy import load_policy

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS)
    parser.add_argument("--policy")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    print("| policy | set | in | kept | prompts kept | rejected first by |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for name in [options.set] if options.set else SETS:
            outputs = list(SETS[name]())
            problems = [r | {"text": r["prompt"]} for r in outputs]
            paths = written(folder / f"{name}.jsonl", outputs), written(folder / f"{name}-problems.jsonl", problems)
            for policy, changes in runs(options.policy):
                label = f"{policy}, {VARIANTS[policy][0]}" if changes else policy
                out = folder / name / label.replace(", ", "-").replace(" ", "-")
                settings = varied(load_policy(policy, ROOT / "recipes" / "selection"), changes)
                funnel = curate([paths[policy in PROBLEMS]], settings, out)
                print(report(label, name, funnel, out), flush=True)


def written(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def report(label: str, name: str, funnel, out: Path) -> str:
    import pyarrow.parquet as pq

    prompts = len(set(pq.read_table(out / "kept.parquet", columns=["prompt_id"])["prompt_id"].to_pylist()))
    reasons = [f"{rule.rule} {rule.rejected:,}" for step in funnel.steps for rule in step.rules if rule.rejected]
    return f"| {label} | {name} | {funnel.entered:,} | {funnel.kept:,} | {prompts:,} | {', '.join(reasons) or 'none'} |"


if __name__ == "__main__":
    main()
