"""What the whole DAG made, exported by `r1 export`: it loads elsewhere, and its card says what the stages measured."""

import json

from typer.testing import CliRunner

from flows.cli.main import app


def export(*words: str) -> dict:
    run = CliRunner().invoke(app, ["export", *words, "--json"])
    assert run.exit_code == 0, run.output
    return json.loads(run.stdout)


def test_the_sft_set_and_r1_leave_with_their_story(built, tmp_path, monkeypatch):
    from datasets import load_dataset
    from huggingface_hub import ModelCard
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tasks.curation.examples import read_examples
    from tasks.training import checkpoints

    folder, _ = built
    monkeypatch.chdir(folder)
    found = export("sft_data", "--to", str(tmp_path / "sft"), "--push", "me/sft", "--dry-run")
    assert found["problems"] == [] and found["changes"] == [] and found["pushed"] is None
    rows = read_examples(folder / "data/13_sft_data")
    loaded = load_dataset(str(tmp_path / "sft"), cache_dir=str(tmp_path / "cache"))["train"]
    assert [m[1]["content"] for m in loaded["messages"]] == [r["response"] for r in rows] and len(rows) > 0
    assert set(loaded["licence"]) <= {"generated", "Apache-2.0", "MIT"} and sum(
        s["rows"] for s in found["sources"]
    ) == len(rows)

    found = export("r1", "--to", str(tmp_path / "r1"), "--licence", "Apache-2.0")
    assert found["problems"] == [] and {"running-sums", "general"} <= {s["source"] for s in found["sources"]}
    model, ours = checkpoints.load(folder / "data/17_r1")
    text = "User: Compute 54 A-1 B+3.\nAssistant: "
    assert AutoTokenizer.from_pretrained(tmp_path / "r1")(text)["input_ids"] == ours(text)["input_ids"]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "r1").num_parameters() == model.num_parameters()
    metrics = json.loads((folder / "metrics/evaluate/r1.json").read_text())
    scores = {e.metric_type: e.metric_value for e in ModelCard.load(tmp_path / "r1/README.md").data.eval_results}
    assert scores["pass_at_1"] == metrics["pass_at_1"]
