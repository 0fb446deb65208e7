"""A teacher's outputs on disk become a clean set without any sampling: prompts, candidates, verdicts, reasoning."""

import json

import yaml

from tasks.provenance.artifacts import read_rows
from tasks.rows import COMPLETION, DECISION, PROMPT, SFT_EXAMPLE, VERDICT
from tests.flows.test_data_flows import checkout, configure, run  # noqa: F401  (fixtures)

ANSWERS = {
    "right": "<think> First I add seven and five, which gives twelve. </think> The sum is <answer>12</answer>",
    "again": "<think> First I add seven and five, which gives twelve. </think> The sum is <answer>12</answer>",
    "wrong": "<think> First I add seven and five, which gives thirteen. </think> The sum is <answer>13</answer>",
    "cut": "<think> First I add seven and",
}


def outputs(checkout, rows):  # noqa: F811
    path = checkout / "teacher.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {
        "name": "teacher", "path": "teacher.jsonl", "domain": "maths", "licence": "MIT", "model": "big-teacher",
        "columns": {"text": "question", "gold": "answer"}, "completions": {"text": "outputs"},
    }  # fmt: skip
    configure(checkout)
    params = checkout / "params.yaml"
    values = yaml.safe_load(params.read_text())
    values["candidates"] |= {"model": "data/01_prompts", "sources": [], "prompts": 0, "imported": [source]}
    values["verdicts"] = {"judge": "data/01_prompts", "judge_share": 0, "max_infra_share": 0.05}
    values["reasoning"]["filters"] = {"complete": True, "min_language_share": 0.9}
    params.write_text(yaml.safe_dump(values, sort_keys=False))


def test_from_a_file_to_the_reasoning_set_with_lineage(checkout):  # noqa: F811
    asked = {"question": "What is 7 + 5 apples?", "answer": "12", "outputs": list(ANSWERS.values())}
    unusable = {"question": "What is 1 + 1?", "answer": "proof", "outputs": ["2", "3"]}
    outputs(checkout, [asked, unusable])
    metrics = run(checkout, "candidates")
    assert metrics["imported"] == {"teacher": {"prompts": 1, "candidates": 4, "rejected": 2}}
    folder = checkout / "data/09_candidates"
    (prompt,) = read_rows(folder, "prompts", PROMPT)
    completions = read_rows(folder, "candidates", COMPLETION)
    assert prompt["origin"] == "teacher.jsonl:1" and {c["model"] for c in completions} == {"big-teacher"}
    assert [d["rule"] for d in read_rows(folder, "decisions", DECISION)] == ["gold", "gold"]

    metrics = run(checkout, "verdicts")
    assert metrics["status"] == {"ok": 2, "wrong": 1, "unparsable": 1, "timeout": 0, "infra": 0}
    assert len(read_rows(checkout / "data/10_verdicts", "verdicts", VERDICT)) == 4

    metrics = run(checkout, "reasoning")
    first = {f["rule"]: f["rejected"] for f in metrics["funnel"] if f["rejected"]}
    assert first == {"truncated": 1, "exact_duplicate": 1, "verdict": 1} and metrics["kept"] == 1
    (example,) = read_rows(checkout / "data/11_reasoning", "examples", SFT_EXAMPLE)
    kept = next(c for c in completions if c["id"] == example["completion_id"])
    assert example["response"] == ANSWERS["right"] == kept["text"] and example["prompt"] == asked["question"]
    assert json.loads(kept["settings"])["origin"] == "teacher.jsonl:1"
