"""The data stages from prompts to the SFT set and the preferences, in a checkout of their own.

Candidates are written by hand (right, wrong, mixed, truncated ones), the judge is a randomly initialised model: what
counts is that every row is verified, counted and traceable. `prompts` runs first as DVC runs it; the others run in this
process, which imports torch once for all of them (tests/whole_dag builds every stage in a process of its own).
"""

import contextlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from flows.orchestration import guard
from flows.orchestration import stage as stages
from tasks.provenance.artifacts import read_rows, write_manifest, write_rows
from tasks.rows import COMPLETION, DECISION, PREFERENCE_PAIR, PROMPT, SAFETY_LABEL, SFT_EXAMPLE, VERDICT, row_id
from tests.compiled import compile_once

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
SECTIONS = {
    "prompts": {
        "sources": [
            {"name": "running-sums", "family": "running_sums", "count": 60, "domain": "maths", "licence": "generated"},
            {"name": "general", "family": "general", "count": 400, "licence": "generated"},
        ]
    },
    "verdicts": {"judge": "data/04_judge", "judge_share": 0.5, "min_judge_accuracy": 0.5},
    "reasoning": {
        "filters": {"min_language_share": 0.999, "max_paragraph_chars": 600, "well_formed": True, "complete": True},
        "deduplication": {"within_prompt": 0.9, "across_prompts": 0.95},
        "decontamination": {"prompt_ngram": None},
        "selection": {"per_prompt": 2},
    },
    "non_reasoning": {"sources": ["general"], "rows": 200},
    "sft_data": {"max_tokens": 100},
    "preferences": {"sources": [{"name": "oracle", "family": "general"}], "held_out_share": 0.2},
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("flows", "tasks"):
        (root / folder).symlink_to(ROOT / folder)
    compile_once()
    shutil.copy(ROOT / "dvc.yaml", root)
    shutil.copytree(ROOT / "data/revoked", root / "data/revoked")
    configure(root)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "PREFECT"))}
    env |= {"PYTHONPATH": str(root), **guard.environment(1)}
    subprocess.run([sys.executable, "-m", "flows.prompts"], cwd=root, env=env, check=True)
    return root


def configure(root, **changes):
    params = yaml.safe_load((ROOT / "recipes" / "cpu.yaml").read_text())
    params |= {name: {**section, **changes.get(name, {})} for name, section in SECTIONS.items()}
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def run(root, stage, fails=False):
    """What `python -m flows.<stage>` does and says, up to the end of its process; its metrics, or its standard error."""
    module, said, hold, status = importlib.import_module(f"flows.{stage}"), io.StringIO(), guard.hold, None
    with pytest.MonkeyPatch.context() as here, contextlib.ExitStack() as locks, contextlib.redirect_stderr(said):
        for name in [n for n in os.environ if n.startswith(("DVC_", "PREFECT"))]:
            here.delenv(name)
        for name, value in guard.environment(1).items():
            here.setenv(name, value)
        here.chdir(root)
        here.setattr(guard, "hold", lambda *who: locks.enter_context(hold(*who)))  # a failed process lets go
        here.setattr(stages, "_this_stage", lambda: stage)
        here.setattr(stages, "_leave_out_quantisation", lambda declared: None)  # for good: other tests quantise
        here.setattr(stages.tracking, "leave", sys.exit)
        try:
            stages.stage(module.body, module.Params)
        except SystemExit as end:
            status = end.code
    assert status == (stages.BAD_INPUT if fails else 0), said.getvalue()
    return said.getvalue() if fails else json.loads((root / "metrics" / f"{stage}.json").read_text())


@pytest.fixture(scope="module")
def candidates(checkout):
    """Four responses to each training prompt: right, wrong, mixed in language, cut off."""
    prompts = [p for p in read_rows(checkout / "data/01_prompts", "train", PROMPT) if p["source"] == "running-sums"]
    rows = []
    for prompt in prompts:
        right = prompt["solution"]
        wrong = right.replace(f"<answer>{prompt['gold']}", "<answer>1234")
        mixed = right.replace(". ", ". 然后 ", 1)
        for index, (text, finish) in enumerate(
            [(wrong, "stop"), (right, "stop"), (mixed, "stop"), (right[:20], "length")]
        ):
            rows.append(
                {"id": row_id("completion", prompt=prompt["id"], index=index), "prompt_id": prompt["id"], "model": "m", "engine": "e",
                 "settings": "{}", "index": index, "text": text, "tokens": 9, "finish": finish, "logprob": -1.0}
            )  # fmt: skip
    folder = checkout / "data/09_candidates"
    write_rows(folder, "candidates", rows, COMPLETION)
    write_rows(folder, "prompts", [], PROMPT)
    write_manifest(folder)
    untrained(checkout / "data/04_judge")
    examine(checkout / "data/04_judge", 0.9)
    shutil.copytree(checkout / "data/04_judge", checkout / "data/02_base")
    return rows


def examine(folder, accuracy):
    """What the judge's exam on held-out pairs said, beside its weights."""
    (folder / "exam.json").write_text(json.dumps({"accuracy": accuracy}))
    write_manifest(folder)


def untrained(folder):
    from tasks.training.checkpoints import save
    from tasks.training.pretrain import build_model
    from tasks.training.settings import Pretrain
    from tasks.training.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(
        ["Compute 1 A+2 Gold 3 Given 3 ok wrong"], ["<think>", "</think>", "<answer>", "</answer>"]
    )
    save(build_model(Pretrain(hidden=16, layers=1, heads=1), tokenizer, 0), tokenizer, folder)
    write_manifest(folder)


def test_prompts_are_published_in_two_folders(checkout):
    metrics = json.loads((checkout / "metrics/prompts.json").read_text())
    train, validation = (read_rows(checkout / "data/01_prompts", s, PROMPT) for s in ("train", "validation"))
    final = read_rows(checkout / "data/01_final", "final", PROMPT)
    assert (metrics["train"], metrics["validation"], metrics["final"]) == (len(train), len(validation), len(final))
    assert not {r["text"] for r in final} & {r["text"] for r in train + validation}
    assert not (checkout / "data/01_prompts/final.parquet").exists()
    assert metrics["sources"]["running-sums"]["kept"] == 60


def test_verdicts_then_reasoning_then_sft_data(checkout, candidates):
    metrics = run(checkout, "verdicts")
    verdicts = read_rows(checkout / "data/10_verdicts", "verdicts", VERDICT)
    agreement = read_rows(checkout / "data/10_verdicts", "agreement")
    assert len(verdicts) == len(candidates) == sum(metrics["status"].values())
    assert metrics["judge_candidates"] == len(agreement) == sum(v["method"] == "judge" for v in verdicts) > 0
    assert all(a["rule"] in ("ok", "wrong") for a in agreement) and metrics["agreement"] is not None
    assert metrics["status"]["unparsable"] >= len(candidates) / 4, "the cut-off ones have no answer"

    examine(checkout / "data/04_judge", 0.4)  # a judge that failed its exam decides nothing
    metrics = run(checkout, "verdicts")
    assert "0.400 on held-out pairs is below 0.5" in metrics["judge"] and metrics["judge_candidates"] == 0

    configure(checkout, verdicts={"judge_share": 0})
    metrics = run(checkout, "verdicts")
    assert (
        metrics["judge"] == "none: judge_share is 0"
        and metrics["judge_candidates"] == 0
        and metrics["agreement"] is None
    )
    assert metrics["status"]["ok"] == len(candidates) / 2

    metrics = run(checkout, "reasoning")
    examples = read_rows(checkout / "data/11_reasoning", "examples", SFT_EXAMPLE)
    decisions = read_rows(checkout / "data/11_reasoning", "decisions", DECISION)
    assert metrics["kept"] == len(examples) == len(candidates) / 4
    assert {f["rule"]: f["rejected"] for f in metrics["funnel"] if f["rejected"]} == {
        "verdict": len(candidates) / 4, "truncated": len(candidates) / 4, "mixed_language": len(candidates) / 4,
    }  # fmt: skip
    rules = {f["rule"] for f in metrics["funnel"]}
    assert rules >= {"verdict", "truncated", "bad_format", "near_within_prompt", "prompt_exact", "per_prompt"}
    assert Counter(d["rule"] for d in decisions) == dict.fromkeys(rules, len(candidates)), (
        "every rule for every candidate"
    )
    right = {c["id"]: c["text"] for c in candidates if c["index"] == 1}
    assert {e["completion_id"]: e["response"] for e in examples} == right

    metrics = run(checkout, "non_reasoning")
    assert metrics["rows"] == 200 == sum(metrics["domains"].values()) and 0 < metrics["with_cot"] < 200
    metrics = run(checkout, "sft_data")
    rows = read_rows(checkout / "data/13_sft_data", "examples", SFT_EXAMPLE)
    assert metrics["rows"] + metrics["left_out"] == len(examples) + 200 and metrics["rows"] == len(rows)
    assert sum(d["rows"] for d in metrics["domains"].values()) == len(rows)
    assert max(d["max_tokens"] for d in metrics["domains"].values()) <= 100 and metrics["left_out"] > 0


def test_preferences(checkout):
    metrics = run(checkout, "preferences")
    pairs = read_rows(checkout / "data/15_preferences", "pairs", PREFERENCE_PAIR)
    labels = read_rows(checkout / "data/15_preferences", "labels", SAFETY_LABEL)
    assert metrics["labelled_by"] == ["procedural-oracle"] and (metrics["pairs"], metrics["labels"]) == (
        len(pairs),
        len(labels),
    )
    final = {r["text"] for r in read_rows(checkout / "data/01_final", "final", PROMPT)}
    assert not final & {r["prompt"] for r in pairs + labels}
    assert Counter(r["split"] for r in pairs)["held_out"] == metrics["held_out"]["pairs"] > 0


def test_bad_sources_leave_what_was_published(checkout):
    before = (checkout / "data/01_prompts/manifest.json").read_bytes()
    (checkout / "bad.jsonl").write_text('{"q": "a", "a": "1"}\n{"q": \n')
    bad = {
        "name": "bad",
        "path": "bad.jsonl",
        "columns": {"text": "q", "gold": "a"},
        "domain": "maths",
        "licence": "MIT",
    }
    for source, message in [
        (bad, "source bad: bad.jsonl:2: no valid JSON"),
        (bad | {"columns": {"text": "question", "gold": "a"}}, "source bad: bad.jsonl:1 has no column 'question'"),
        (bad | {"path": "none.jsonl"}, "no such file"),
        (bad | {"columns": {"txt": "q"}}, "txt"),
    ]:
        configure(checkout, prompts={"sources": [source]})
        stderr = run(checkout, "prompts", fails=True)
        assert message in stderr and "Traceback" not in stderr
        assert (checkout / "data/01_prompts/manifest.json").read_bytes() == before
    configure(checkout)


@pytest.mark.skipif(not (SHARED / "gsm8k").is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)")
def test_real_sources_through_the_stage(checkout):
    added = [
        {"name": "gsm8k", "path": str(SHARED / "gsm8k/train.jsonl"), "columns": {"text": "question", "gold": "answer"},
         "gold_pattern": r"####\s*(.+)$", "domain": "maths", "licence": "MIT", "limit": 100},
        {"name": "math-train", "path": str(SHARED / "math-train/math.json"), "columns": {"text": "problem", "gold": "answer"},
         "domain": "maths", "licence": "MIT", "limit": 100},
    ]  # fmt: skip
    configure(checkout, prompts={"sources": SECTIONS["prompts"]["sources"] + added})
    metrics = run(checkout, "prompts")
    assert metrics["sources"]["gsm8k"]["kept"] + sum(metrics["sources"]["gsm8k"]["dropped"].values()) == 100
    assert len(next(iter(metrics["sources"]["math-train"]["sha256"].values()))) == 64
    configure(checkout)
