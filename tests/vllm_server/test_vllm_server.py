"""A real vLLM server on a checkpoint, beside the transformers engine: the same protocol, the same probabilities.

`candidates` and `evaluate` run as DVC runs them, with `engine:` pointing at the server; it is killed on the way.
"""

import json
import os
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from tasks.prompts.templates import render, template_hash
from tasks.provenance.artifacts import read_rows, weights_sha
from tasks.rows import COMPLETION, PROMPT
from tasks.sampling.engine import engine_settings, open_engine
from tests.faults.all_of_it import all_of_it

pytestmark = pytest.mark.vllm
TOLERANCE = 1e-3  # nats between vLLM's log-probability of a token and transformers', both in float32


@pytest.fixture(scope="module")
def prompts(checkout) -> list[str]:
    rows = read_rows(checkout.root / "data/01_prompts", "train", PROMPT)
    return [render("bare", r["text"]) for r in rows[:32]]


def test_r1_serve_says_where_it_is_once_it_answers(served, checkout):
    listed = json.load(urllib.request.urlopen(f"{served.url}/models", timeout=10))
    assert [m["id"] for m in listed["data"]] == [served.model] == [checkout.checkpoint.name]
    assert urllib.request.urlopen(served.url.removesuffix("/v1") + "/health", timeout=10).status == 200
    assert served.log.is_relative_to(checkout.root / "work/serve"), "in a checkout its log is where git does not look"


def test_log_probabilities_are_those_of_a_full_forward_pass(served, checkout, prompts):
    import torch

    from tasks.training.checkpoints import load

    ask = {"k": 4, "temperature": 1.0, "top_p": 1.0, "max_tokens": 96}
    with open_engine(engine_settings({"name": "server", "url": served.url}), checkout.checkpoint) as engine:
        groups = engine.sample(prompts, **ask, seed=1)
        again = engine.sample(prompts[:4], **ask, seed=1)
        other = engine.sample(prompts[:4], **ask, seed=2)
    assert engine.name == "server" and engine.sha == weights_sha(checkout.checkpoint)
    assert all(len(g) == 4 for g in groups)
    model, tokenizer = load(checkout.checkpoint)
    worst, tokens = 0.0, 0
    for prompt, group in zip(prompts, groups, strict=True):
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        for s in group:
            with torch.no_grad():
                logits = model(torch.tensor([start + s.ids])).logits[0, len(start) - 1 : -1]
            expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(s.ids)[:, None])[:, 0]
            worst = max(worst, (expected - torch.tensor(s.logprobs)).abs().max().item())
            tokens += len(s.ids)
            ends = s.ids[-1] == tokenizer.eos_token_id
            assert s.finish == ("stop" if ends else "length"), "a stopped completion holds its end of sequence"
            assert s.text == tokenizer.decode(s.ids[:-1] if ends else s.ids)
    assert tokens > 1000 and worst < TOLERANCE, f"{worst:.1e} over {tokens} tokens"
    assert [[s.ids for s in g] for g in again] == [[s.ids for s in g] for g in groups[:4]], "a seed is a seed"
    assert [[s.ids for s in g] for g in other] != [[s.ids for s in g] for g in again]
    assert len({tuple(s.ids) for s in groups[0]}) > 1 or len({tuple(s.ids) for s in groups[1]}) > 1, "samples differ"


def test_greedy_decoding_agrees_with_the_transformers_engine(served, checkout, prompts):
    """Tokens may part only where the two best are closer than the tolerance: not in 32 short completions."""
    ask = {"k": 1, "temperature": 0.0, "top_p": 1.0, "max_tokens": 48, "seed": 0}
    with open_engine(engine_settings({"name": "server", "url": served.url}), checkout.checkpoint) as engine:
        theirs = engine.sample(prompts, **ask)
    with open_engine(engine_settings("transformers"), checkout.checkpoint) as engine:
        ours = engine.sample(prompts, **ask)
    assert [g[0].ids for g in theirs] == [g[0].ids for g in ours]
    for a, b in zip(theirs, ours, strict=True):
        assert a[0].logprobs == pytest.approx(b[0].logprobs, abs=TOLERANCE)


def test_evaluate_has_the_protocol_and_the_interval_of_the_transformers_engine(served, checkout):
    checkout.configure(evaluate={"engine": "transformers"})
    ours = checkout.run("evaluate", "r1")
    checkout.configure(evaluate={"engine": {"name": "server", "url": served.url}})
    theirs = checkout.run("evaluate", "r1")
    assert theirs["protocol"] == ours["protocol"]
    low, high = ours["pass_at_1_ci95"]["low"], ours["pass_at_1_ci95"]["high"]
    assert 0 < low <= theirs["pass_at_1"] <= high, (theirs["pass_at_1"], ours["pass_at_1_ci95"])
    assert theirs["mean_length"] == pytest.approx(ours["mean_length"], rel=0.1)
    assert (theirs["parameters"], theirs["infra"]) == (ours["parameters"], 0)


def test_candidates_survive_a_server_that_is_killed(served, checkout):
    """kill -9 of the server's whole group in the middle: `r1 serve` starts it anew, the stage waits and asks for the rest."""
    checkout.configure(candidates={"prompts": 120, "samples": 8, "engine": {"name": "server", "url": served.url}})
    stage = checkout.begin("candidates")
    known = _await(lambda: _finished(checkout) >= 24 and _finished(checkout), 240, stage)
    os.killpg(_leader(served), signal.SIGKILL)
    said, _ = stage.communicate(timeout=900)
    assert stage.returncode == 0, said
    assert "started anew, 1 of 3 times" in served.log.read_text()
    rows = read_rows(checkout.root / "data/09_candidates", "candidates", COMPLETION)
    assert len(rows) == 120 * 8 == len({(r["prompt_id"], r["index"]) for r in rows})
    assert {(r["engine"], r["model"]) for r in rows} == {("server", weights_sha(checkout.checkpoint))}
    settings = json.loads(rows[0]["settings"])
    assert settings["template"] == template_hash("bare") and settings["temperature"] == 1.0
    assert all(r["text"] and r["tokens"] and r["logprob"] < 0 for r in rows), "no failed request became an empty text"
    assert known < 120, "it was killed in the middle"


def _finished(checkout) -> int:
    """Requests in the ledger of the stage that runs."""
    return sum(path.read_bytes().count(b"\n") for path in checkout.ledgers("candidates"))


def _leader(served) -> int:
    """Process that leads the server's group now: the one whose command line names its port."""
    port = served.url.rsplit(":", 1)[1].split("/")[0]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "vllm.entrypoints.openai.api_server" in words and words[words.index("--port") + 1] == port:
            return os.getpgid(int(folder.name))
    raise AssertionError("no server runs")


def _await(what, seconds: float, stage):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if got := what():
            return got
        if stage.poll() is not None:
            raise AssertionError(f"the stage ended first: {stage.stdout.read()}")
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


@all_of_it
def test_a_stage_starts_a_server_of_its_own_and_ends_it(checkout):
    """`start: true`: the same candidates, ids included, as from any other server of vLLM on these weights."""
    engine = {"name": "server", "start": True, "serving": {"engine": "vllm"}}
    checkout.configure(candidates={"prompts": 24, "samples": 4, "engine": engine})
    metrics = checkout.run("candidates")
    assert (metrics["prompts"], metrics["candidates"]) == (24, 96)
    assert not [p for p in Path("/proc").glob("[0-9]*") if _serves(p, checkout.root)], "nothing of it is left"


def _serves(folder: Path, root: Path) -> bool:
    """Whether the process serves a model from `root` on a log in a stage's work folder."""
    try:
        return b"api_server" in (folder / "cmdline").read_bytes() and "work/candidates" in os.readlink(folder / "cwd")
    except OSError:
        return False


def test_ctrl_c_ends_the_server_and_all_its_processes(served):
    group = os.getpgid(_leader(served))
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(60) == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
