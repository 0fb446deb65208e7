"""`evaluate` through a chat endpoint: what cannot be done there is left out, and the protocol says how it was asked."""

import json
from types import SimpleNamespace

import pytest

from flows import evaluate
from tasks.execution import Local
from tasks.prompts.templates import render, template_hash
from tasks.provenance.artifacts import read_rows, weights_sha, write_manifest, write_rows
from tasks.rows import COMPLETION, PROMPT, VERDICT
from tasks.sampling.policy import load_policy
from tests.sampling.completions_server import Server

ASKED = {"models": {"r1": "r1"}, "sources": ["running-sums"], "problems": 3, "k": 2, "temperature": 0.6, "top_p": 0.95}
CHAT = {"name": "server", "api": "chat", "dialect": "openai"}


def test_chat_is_evaluated_as_chat(checkpoint, prompts, tmp_path):
    (tmp_path / "r1").symlink_to(checkpoint)
    for folder in ("final", "out"):
        (tmp_path / folder).mkdir()
    write_rows(tmp_path / "final", "final", [p | {"split": "final"} for p in prompts], PROMPT)
    write_manifest(tmp_path / "final", stage="test")
    with Server(load_policy(checkpoint)) as server, Local() as execution:
        p = evaluate.Params.model_validate(ASKED | {"max_tokens": 12, "engine": CHAT | {"url": server.url}})
        run = SimpleNamespace(
            root=tmp_path, root_seed=3, template="bare", item="r1", threads=1, execution=execution, work=tmp_path / "work",
            out=tmp_path / "out", input=lambda name: tmp_path / name, progress=lambda *where, **more: None,
        )  # fmt: skip
        metrics = evaluate.body(p, run)
        asked = {body["messages"][0]["content"] for body in server.asked}
    write_manifest(run.out, stage="test")
    tables = {"problems": PROMPT, "samples": COMPLETION, "verdicts": VERDICT, "forced_samples": COMPLETION}
    problems, samples, verdicts, forced = (read_rows(run.out, name, schema) for name, schema in tables.items())
    assert asked == {render("bare", q["text"]) for q in problems} and len(problems) == 3
    assert len(samples) == len(verdicts) == 6 and len({s["id"] for s in samples}) == 6 and forced == []
    assert {(s["engine"], s["model"], s["logprob"]) for s in samples} == {("server", weights_sha(checkpoint), None)}
    said = json.loads(samples[0]["settings"])
    assert (said["api"], said["dialect"], said["template"]) == ("chat", "openai", template_hash("bare"))
    assert metrics["protocol"]["template"] == "bare as a chat message"
    assert metrics["engine"] == {"name": "server", "samples_per_request": 16, "api": "chat", "dialect": "openai"}
    assert metrics["elicitation"]["forced_direct_pass_at_1"] is None
    assert metrics["elicitation"]["forced_cot_ci95"] is None


def test_another_model_is_not_evaluated_under_a_checkpoints_name():
    engine = CHAT | {"url": "http://x/v1", "model": "vendor", "revision": "1"}
    with pytest.raises(ValueError, match="engine.revision names a model that is none of `models`"):
        evaluate.Params.model_validate(ASKED | {"max_tokens": 12, "engine": engine})
