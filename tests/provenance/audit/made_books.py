"""Books in the shape of the DAG's, of any size, written with the real writers; and ways to tamper with them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.dag_tables import RULES, generate
from flows.orchestration.lineage import md5_of, md5_of_folder
from tasks.curation.policy import Decontamination
from tasks.prompts.evaluation_sets import publish
from tasks.provenance.artifacts import read_manifest, write_manifest
from tasks.provenance.audit.books import Books, Stage

LONG = "A farmer walks along the river with three goats and nine geese and counts the legs of all that follow him home"
EDGES = {  # stage -> (outs, inputs)
    "prompts": (("data/01_prompts", "data/01_final"), ()),
    "dev2": (("data/08_dev2",), ("data/01_prompts",)),
    "candidates": (("data/09_candidates",), ("data/01_prompts", "data/08_dev2")),
    "verdicts": (("data/10_verdicts",), ("data/09_candidates",)),
    "reasoning": (("data/11_reasoning",), ("data/09_candidates", "data/10_verdicts")),
    "non_reasoning": (("data/12_non_reasoning",), ("data/01_prompts",)),
    "sft_data": (("data/13_sft_data",), ("data/11_reasoning", "data/12_non_reasoning")),
    "dev3": (("data/14_dev3",), ("data/13_sft_data",)),
    "r1": (("data/17_r1",), ("data/14_dev3",)),
    "distill@qwen": (("data/18_distill/qwen",), ("data/13_sft_data",)),
    "evaluate@r1": (("data/20_evaluate/r1",), ("data/01_final", "data/17_r1")),
}  # fmt: skip
PARAMS = {
    "prompts": {"sources": [
        {"name": "sums", "path": "data/raw/sums.jsonl", "licence": "MIT", "domain": "maths", "procedural": True,
         "columns": {"text": "q", "gold": "a"}},
        {"name": "general", "path": "data/raw/general.jsonl", "licence": "CC-BY-4.0", "domain": "qa",
         "columns": {"text": "q", "solution": "a"}},
    ]},
    "dev2": {"sources": ["sums"]},
    "candidates": {"samples": 4},
    "non_reasoning": {"sources": ["general"]},
}  # fmt: skip
SMALL = 240  # candidates


def metrics(candidates: int = SMALL) -> dict[str, dict]:
    """What the stages would have measured; the generator's fates, counted by its rule (benchmarks/dag_tables.py)."""
    asked, general, kept = candidates // 4, candidates // 15, candidates // 5
    repeated, rows = max(1, asked // 100), kept + general
    long, long_reasoning = rows // 10_000, kept // 10_000
    third = kept // 3  # of the prompts that are kept: the last candidate is cut off, mixed, or contaminated in turn
    rejected = {
        "verdict": candidates - 3 * kept, "near_within_prompt": kept, "truncated": third, "mixed_language": third,
        "text_coverage": third,
    }  # fmt: skip
    source = {"validation": 0, "dropped": {}, "sha256": {"data/raw/sums.jsonl": "0" * 64}}
    protocol = {"problems": 1000, "k": 4, "seed": 0, "temperature": 1.0, "top_p": 1.0, "max_tokens": 32768, "split": "final",
                "template": "bare", "template_hash": "300bbd060e20", "verifier": "bbc1c5eb25388e82", "sources": ["sums"]}  # fmt: skip
    return {
        "prompts": {
            "rows": asked + 1000 + general, "train": asked + general, "validation": 0, "final": 1000, "evaluation_problems": 1001,
            "sources": {
                "sums": source | {"rows": asked + 1000 + repeated, "train": asked, "final": 1000, "dropped": {"duplicate": repeated}},
                "general": source | {"rows": general, "train": general, "final": 0, "sha256": {"data/raw/general.jsonl": "0" * 64}},
            },
        },
        "candidates": {"prompts": asked, "candidates": candidates},
        "verdicts": {"candidates": candidates, "without_verdict": 0, "judge_candidates": None,
                     "status": {"ok": 3 * kept, "wrong": candidates - 3 * kept}},
        "reasoning": {
            "candidates": candidates, "kept": kept, "rejected": candidates - kept,
            "funnel": [{"rule": r, "rejected": rejected.get(r, 0), "failed": rejected.get(r, 0)} for _, r, *_ in RULES],
        },
        "non_reasoning": {"rows": general, "prompts": general, "prompts_used": general},
        "sft_data": {"rows": rows - long, "reasoning": kept - long_reasoning, "left_out": long,
                     "domains": {"maths": {"rows": kept - long_reasoning}, "qa": {"rows": rows - long - kept + long_reasoning}}},
        "dev3": {"examples": rows - long, "left_out": 0},
        "evaluate@r1": {"checkpoint": "data/17_r1", "pass_at_1": 0.5, "protocol": protocol},
    }  # fmt: skip


def build(root: Path) -> None:
    """Everything of the small books that lies on disk."""
    generate(root, SMALL, 60)
    complete(root, SMALL)


def complete(root: Path, candidates: int) -> None:
    """What the generator leaves out: the index of evaluation items, parameters in the manifests, metrics."""
    final = pq.read_table(root / "data/01_final/final.parquet").to_pylist()
    extra = {"id": "bench:1", "source": "bench", "text": LONG}
    publish([*final, extra], {"sums"}, Decontamination(), root, root / "data/01_prompts/benchmarks")
    for stage, (outs, _) in EDGES.items():
        params = {stage: PARAMS[stage]} if stage in PARAMS else {}
        for out in outs:
            write_manifest(root / out, stage=stage, seed=0, code="0" * 16, params=params)
    for stage, values in metrics(candidates).items():
        path = root / f"metrics/{stage.replace('@', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


def books(root: Path) -> Books:
    """The books as they lie there now, their lock written over what is there."""
    stages = {}
    for stage, (outs, inputs) in EDGES.items():
        measured = f"metrics/{stage.replace('@', '/')}.json"
        written = [*outs, *([measured] if (root / measured).is_file() else [])]
        name, _, item = stage.partition("@")
        md5s = {path: md5_of(root / path) for path in written}
        stages[stage] = Stage(stage, name, item or None, "", dict.fromkeys(inputs), md5s, read_manifest(root / outs[0])["params"])  # fmt: skip
    return Books(root, stages, {}, "0" * 40, (), md5_of_folder)


def copy(template: Path, root: Path) -> Path:
    shutil.copytree(template, root)
    return root


def edit(root: Path, table: str, change: Callable[[list[dict]], list[dict] | None], seal: bool = True) -> None:
    """Rewrite data/`table`.parquet; with `seal` also its manifest, as a forger would."""
    file = root / "data" / f"{table}.parquet"
    found = pq.read_table(file)
    rows = found.to_pylist()
    changed = change(rows)
    pq.write_table(pa.Table.from_pylist(rows if changed is None else changed, schema=found.schema), file)
    if seal:
        artifact = next(p for p in file.parents if (p / "manifest.json").is_file())
        facts = {k: v for k, v in read_manifest(artifact).items() if k != "files"}
        write_manifest(artifact, **facts)


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def with_params(found: Books, stage: str, **section) -> Books:
    """The same books with other parameters of a stage."""
    old = found.stages[stage]
    return replace(found, stages=found.stages | {stage: replace(old, params={old.name: old.section | section})})
