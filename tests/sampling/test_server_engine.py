"""The server engine against a server that samples from a real checkpoint, and fails the way servers do."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks.provenance.artifacts import weights_sha
from tasks.rows import COMPLETION
from tasks.sampling import http
from tasks.sampling.answers import samples_of
from tasks.sampling.engine import EngineError, engine_settings, open_engine
from tasks.sampling.policy import load_policy
from tasks.sampling.rows import completion_rows
from tests.sampling.completions_server import Server

PROMPTS = [f"User: Compute {n} A+7 B+6\nAssistant: " for n in range(5)]
ASK = {"k": 3, "temperature": 1.0, "top_p": 1.0, "max_tokens": 8, "seed": 3}


@pytest.fixture(scope="module")
def policy(checkpoint):
    return load_policy(checkpoint)


@pytest.fixture()
def server(policy):
    with Server(policy) as server:
        yield server


def opened(server, checkpoint, work=None, **changes):
    quick = {"backoff": 0.01, "timeout": 60, "attempts": 3, "give_up": 0.5, "samples_per_request": 2}
    return open_engine(engine_settings({"name": "server", "url": server.url, **quick, **changes}), checkpoint, work)


def test_samples_are_the_servers_in_the_order_of_the_prompts(server, checkpoint):
    server.seconds = 0.02
    heard = []
    with opened(server, checkpoint, concurrency=4) as engine:
        groups = engine.sample(PROMPTS, **ASK, progress=lambda *where, **more: heard.append((*where, more["tokens"])))
    by_prompt = {}
    for body in server.asked:
        by_prompt.setdefault(engine.tokenizer.decode(body["prompt"]), []).append(body)
    assert [len(g) for g in groups] == [3] * 5
    for prompt, group in zip(PROMPTS, groups, strict=True):
        bodies = sorted(by_prompt[prompt], key=lambda b: group.index(server.samples(b)[0]))
        assert [b.get("n", 1) for b in bodies] == [2, 1] and len({b["seed"] for b in bodies}) == 2
        assert group == [s for b in bodies for s in server.samples(b)]
    assert 1 < server.busiest <= 4, "side by side, and never more than asked for"
    assert heard[-1] == (5, 5, "prompts", sum(len(s.ids) for g in groups for s in g))
    assert [h[0] for h in heard] == sorted(h[0] for h in heard) and len(heard) == 10
    said = server.asked[0]  # nothing is left to a server's defaults, which come from a checkpoint's generation config
    assert {k: said[k] for k in ("model", "temperature", "top_p", "top_k", "repetition_penalty", "max_tokens")} == {
        "model": "tiny", "temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "max_tokens": 8,
    }  # fmt: skip


def test_the_same_seed_gives_the_same_samples_in_any_order_and_a_prompt_that_comes_twice_others(server, checkpoint):
    with opened(server, checkpoint, concurrency=3) as engine:
        groups = engine.sample(PROMPTS, **ASK)
        assert engine.sample(PROMPTS[::-1], **ASK) == groups[::-1]
        assert engine.sample(PROMPTS, **ASK | {"seed": 4}) != groups
        first, second = engine.sample([PROMPTS[0]] * 2, **ASK)
    assert first == groups[0] and second != first


def test_rows_name_engine_weights_and_settings(server, checkpoint):
    prompts = [{"id": f"prompt_{i}"} for i in range(2)]
    with opened(server, checkpoint) as engine:
        groups = engine.sample(PROMPTS[:2], **ASK)
    rows = completion_rows(engine, prompts, groups, {"seed": 3, "template": "abc"})
    assert {(r["engine"], r["model"]) for r in rows} == {("server", weights_sha(checkpoint))}
    assert json.loads(rows[0]["settings"]) == {"seed": 3, "template": "abc", "samples_per_request": 2}
    assert set(rows[0]) == set(COMPLETION.names)
    assert rows[0]["tokens"] == len(groups[0][0].ids) and rows[0]["logprob"] == sum(groups[0][0].logprobs)


PASSING = ["500", "429", "cut", "reset", "html", "slow", "error_in_200", "aborted", "no_tokens", "unequal"]
PASSING += ["nan", "above_0", "twice"]


@pytest.mark.parametrize("fault", PASSING)
def test_a_failure_that_passes_is_tried_again(server, checkpoint, fault):
    with opened(server, checkpoint, concurrency=1, timeout=3 if fault == "slow" else 60) as engine:
        expected = engine.sample(PROMPTS[:1], **ASK)
        server.asked.clear()
        server.faults = [fault]
        assert engine.sample(PROMPTS[:1], **ASK) == expected
    assert len(server.asked) == 3, "two requests, one of them twice"


@pytest.mark.parametrize(
    "fault, tries, why",
    [
        ("500", 3, r"HTTP 500: .*out of memory.*\(3 tries\)"),
        ("html", 3, "no completion.*proxy"),
        ("no_tokens", 3, "without one token"),
        ("400", 1, "HTTP 400: .*no such parameter"),
        ("401", 1, r"HTTP 401: .*is \$OPENAI_API_KEY set"),
        ("withheld", 1, "content_filter"),
        ("fewer", 1, "gave 1 of 2 samples: set samples_per_request: 1"),
        ("no_ids", 1, "no token ids.*set dialect: openai"),
        ("nan", 3, "log-probabilities that are none"),
        ("odd_types", 1, "no log-probabilities"),
        ("too_long", 1, "9 tokens where 8 were asked for"),
        ("no_logprobs", 1, "no log-probabilities: set logprobs: false"),
        ("short", 1, "cut a completion off after 2 of 8 tokens.*larger max_model_len"),
    ],
)
def test_a_failure_that_stays_ends_the_stage_with_its_reason(server, checkpoint, fault, tries, why):
    server.always = fault
    with opened(server, checkpoint, concurrency=1) as engine, pytest.raises(EngineError) as failed:
        engine.sample(PROMPTS[:1], **ASK)
    assert re.search(why, str(failed.value)) and "0 of 2 requests were answered" in str(failed.value)
    assert len(server.asked) == tries


def test_nobody_there_fails_in_bounded_time(checkpoint, policy):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        there = type("Nobody", (), {"url": f"http://127.0.0.1:{free.getsockname()[1]}/v1"})
    with pytest.raises(EngineError, match="/models: ConnectError.*is it running"):
        opened(there, checkpoint)
    begun = time.monotonic()
    with (
        opened(there, checkpoint, model="tiny") as engine,
        pytest.raises(EngineError, match="ConnectError.*give_up: 0.5"),
    ):
        engine.sample(PROMPTS, **ASK)
    assert 0.5 < time.monotonic() - begun < 10


def test_a_silent_or_a_dripping_server_is_left_in_time_whatever_the_clients_own_patience():
    kept, answer = [], b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"

    def drip(listening, first, kept):
        kept.append(connection := listening.accept()[0])
        connection.recv(65536)
        connection.sendall(first)
        for _ in range(200 if first else 0):
            time.sleep(0.05)
            try:
                connection.send(b" ")
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as there, http.client("NO_KEY", 1, 60) as client:
        for first, why in ((b"", "no reply within 0.4 s"), (answer, "no complete reply within 0.4 s")):
            threading.Thread(target=drip, args=(there, first, kept), daemon=True).start()
            begun = time.monotonic()
            with pytest.raises(http.Passing, match=why):
                http.ask(client, f"http://127.0.0.1:{there.getsockname()[1]}/v1/models", None, 0.4, "NO_KEY")
            assert time.monotonic() - begun < 8


def test_a_request_that_takes_longer_than_give_up_survives_a_restart(policy, checkpoint):
    """Nobody has answered for longer than that, but until it died the server was there."""
    with Server(policy, seconds=1.5) as first:
        first.always = "reset"

        def fall_and_rise():
            while not first.asked:
                time.sleep(0.01)
            first.__exit__()
            while first.busy:
                time.sleep(0.01)
            time.sleep(0.1)
            with Server(policy, first.port) as second:
                over.wait(60)
                assert len(second.asked) == 1

        over = threading.Event()
        killer = threading.Thread(target=fall_and_rise)
        killer.start()
        with opened(first, checkpoint, give_up=1.3) as engine:
            assert len(engine.sample(PROMPTS[:1], **ASK | {"k": 1})[0]) == 1
        over.set()
        killer.join()


def test_a_server_of_other_weights_is_found_out_where_its_folder_lies_here(server, checkpoint, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other, ignore=shutil.ignore_patterns("manifest.json"))
    server.root = str(other)
    opened(server, checkpoint).__exit__()
    weights = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(EngineError, match="serves .*other, whose weights .* are not those of"):
        opened(server, checkpoint)


def test_log_probabilities_are_of_temperature_1_or_none(server, checkpoint):
    """vLLM gives them of the raw logits; what another server gives at another temperature is not asked for."""
    cool = ASK | {"k": 1, "temperature": 0.5}
    with opened(server, checkpoint, dialect="openai", send_seed=False) as engine:
        ((plain,),) = engine.sample(PROMPTS[:1], **ASK | {"k": 1})
        ((sample,),) = engine.sample(PROMPTS[:1], **cool)
        ((narrow,),) = engine.sample(PROMPTS[:1], **ASK | {"k": 1, "top_p": 0.9})
    assert plain.logprobs and (sample.logprobs, narrow.logprobs) == (None, None)
    assert ["logprobs" in body for body in server.asked] == [True, False, False]
    assert engine.protocol["send_seed"] is False and not any("seed" in body for body in server.asked)
    with opened(server, checkpoint) as engine:
        ((sample,),) = engine.sample(PROMPTS[:1], **cool)
    assert server.asked[-1]["logprobs"] == 0 and sample.logprobs == server.samples(server.asked[-1])[0].logprobs


def test_an_empty_text_counts_only_where_a_token_was_made_and_half_a_character_is_marked():
    def said(text, **more):
        choices = [{"index": 0, "text": text, "finish_reason": "stop"}]
        return samples_of({"choices": choices, **more}, 1, "completions", None, [], False, 8)[0]

    assert said("", usage={"completion_tokens": 1}).text == ""
    for usage in (None, [], {"completion_tokens": 0}, {"completion_tokens": "1"}):
        with pytest.raises(http.Passing, match="without text"):
            said("", usage=usage)
    assert said("a\ud83d").text == "a\ufffd" and said("\ud83d\ude00").text == "😀" and said("\ufeffé").text == "\ufeffé"


@pytest.mark.parametrize(
    "changed, why",
    [({"k": 0}, "0 samples"), ({"max_tokens": 0}, "at most 0 tokens"), ({"top_p": 0.0}, "top_p 0"), ({"temperature": -1.0}, "temperature -1")],
    ids=["k", "max_tokens", "top_p", "temperature"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["server", "transformers"])
def test_what_nobody_can_draw_is_refused_before_it_is_asked(server, checkpoint, name, changed, why):
    engine = opened(server, checkpoint) if name == "server" else open_engine(engine_settings(name), checkpoint)
    with engine, pytest.raises(EngineError, match=why):
        engine.sample(PROMPTS, **ASK | changed)
    assert not server.asked


def test_a_server_that_dies_and_comes_back_is_asked_for_the_rest_alone(policy, checkpoint, tmp_path):
    asked = []

    def fall_and_rise(first):
        while len(first.asked) < 4:
            time.sleep(0.005)
        first.__exit__()
        first.always = "reset"  # what is on the wire is lost with it
        time.sleep(0.3)
        with Server(policy, first.port) as second:
            over.wait(20)
            asked.extend(second.asked)

    over = threading.Event()
    with Server(policy, seconds=0.02) as first:
        ask = {"give_up": 10, "concurrency": 2, "attempts": 5}
        with opened(first, checkpoint) as engine:
            expected = engine.sample(PROMPTS, **ASK)
        first.asked.clear()
        killer = threading.Thread(target=fall_and_rise, args=(first,))
        killer.start()
        with opened(first, checkpoint, tmp_path, **ask) as engine:
            groups = engine.sample(PROMPTS, **ASK)
            assert len(engine.ledger) == 10
        over.set()
        killer.join()
    assert groups == expected
    assert 10 - 4 <= len(asked) <= 10 - 4 + 2, "at most what was on the wire is asked again"


def test_the_ledger_answers_for_what_was_asked_before_and_for_nothing_else(server, checkpoint, tmp_path, caplog):
    with opened(server, checkpoint, tmp_path) as engine:
        first = engine.sample(PROMPTS, **ASK)
    assert len(server.asked) == 10
    with opened(server, checkpoint, tmp_path, concurrency=1) as engine:
        assert engine.sample(PROMPTS, **ASK) == first and len(server.asked) == 10
        engine.sample(PROMPTS[:1], **ASK | {"temperature": 0.5})
        assert len(server.asked) == 12, "another setting is another request"
    (file,) = tmp_path.iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"0", b"1", 1)
    file.write_bytes(b"".join(lines)[:-20])
    with opened(server, checkpoint, tmp_path) as engine:
        assert engine.sample(PROMPTS, **ASK) == first and len(server.asked) == 13, (
            "one damaged; the torn one was of T 0.5"
        )
    assert "torn by a kill" in caplog.text and "1 damaged line" in caplog.text


RUN = """
import json, sys
from pathlib import Path
from tasks.sampling.engine import engine_settings, open_engine
settings = engine_settings({"name": "server", "url": sys.argv[1], "concurrency": 2, "samples_per_request": 1, "dialect": "openai"})
with open_engine(settings, Path(sys.argv[2]), Path(sys.argv[3])) as engine:
    prompts = [f"User: Compute {n} A+7 B+6\\nAssistant: " for n in range(30)]
    groups = engine.sample(prompts, k=1, temperature=1.0, top_p=1.0, max_tokens=8, seed=3)
print(json.dumps([[[s.text, s.finish, s.logprobs] for s in group] for group in groups]))
"""


def _said(sample) -> list:
    return [sample.text, sample.finish, sample.logprobs]


def test_a_killed_run_asks_again_for_what_was_on_the_wire_and_nothing_else(policy, checkpoint, tmp_path):
    root = Path(__file__).parents[2]

    def run(server, work):
        env = os.environ | {"PYTHONPATH": str(root)}
        return subprocess.Popen(
            [sys.executable, "-c", RUN, server.url, str(checkpoint), str(work)],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )

    with Server(policy) as whole, opened(whole, checkpoint, dialect="openai", samples_per_request=1) as engine:
        prompts = [f"User: Compute {n} A+7 B+6\nAssistant: " for n in range(30)]
        expected = [[_said(s) for s in g] for g in engine.sample(prompts, **ASK | {"k": 1})]
    with Server(policy, seconds=0.02) as server:
        process = run(server, tmp_path / "work")
        while len(server.asked) < 12:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        (ledger,) = (tmp_path / "work").iterdir()
        kept = ledger.read_bytes().count(b"\n")
        before = len(server.asked)
        assert before - 2 <= kept <= before, "at most the two on the wire are lost"
        assert json.loads(run(server, tmp_path / "work").communicate()[0]) == expected
        assert len(server.asked) - before == 30 - kept


def test_a_chat_endpoint_is_asked_with_messages_and_its_thought_goes_back_between_tags(server, checkpoint, monkeypatch):
    monkeypatch.setenv("A_KEY", "secret")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # not for a server on this machine
    chat = {"api": "chat", "dialect": "openai", "model": "vendor", "revision": "2026-01", "key_variable": "A_KEY"}
    with opened(server, checkpoint, **chat) as engine:
        ((first, second),) = engine.sample(PROMPTS[:1], k=2, temperature=1.0, top_p=1.0, max_tokens=12, seed=0)
    (body,) = server.asked
    assert body["messages"] == [{"role": "user", "content": PROMPTS[0]}] and body["model"] == "vendor"
    assert not {"top_k", "return_token_ids", "prompt"} & set(body) and server.keys == ["Bearer secret"]
    drawn = server.samples(body)
    assert (first.text, first.ids, first.tokens) == (drawn[0].text, None, len(drawn[0].ids))
    assert second.text == f"<think>\nthought\n</think>\n\n{drawn[1].text}" and second.logprobs == drawn[1].logprobs
    assert engine.sha == "vendor@2026-01" and not engine.continues
    assert engine.protocol == {"samples_per_request": 2, "api": "chat", "dialect": "openai"}


def test_without_ids_and_log_probabilities_a_completion_has_its_text_and_count(server, checkpoint):
    plain = {"dialect": "openai", "logprobs": False, "samples_per_request": 1}
    with opened(server, checkpoint, **plain) as engine:
        ((sample,),) = engine.sample(PROMPTS[:1], **ASK | {"k": 1})
        (drawn,) = server.samples(server.asked[0])
        assert (sample.text, sample.ids, sample.logprobs, sample.tokens) == (drawn.text, None, None, len(drawn.ids))
        server.always = "no_text"
        with pytest.raises(EngineError, match="without text"):
            engine.sample(PROMPTS[1:2], **ASK | {"k": 1})
    (row,) = completion_rows(engine, [{"id": "p"}], [[sample]], {})
    assert row["logprob"] is None and row["tokens"] == len(drawn.ids)


def test_transformers_serve_is_told_to_sample(server, checkpoint):
    """Its default is greedy decoding, whatever the temperature says."""
    with opened(server, checkpoint, dialect="transformers", logprobs=False, samples_per_request=1) as engine:
        engine.sample(PROMPTS[:1], **ASK | {"k": 1})
    config = json.loads(server.asked[0]["generation_config"])
    assert config["do_sample"] is True and config["top_k"] == 0 and config["max_new_tokens"] == 8
    assert config["eos_token_id"] == [engine.tokenizer.eos_token_id]


@pytest.mark.parametrize(
    "settings, why",
    [
        ({}, "no address: give `url:`.*R1_SERVER_URL.*start: true"),
        ({"start": True, "url": "http://x/v1"}, "leave out url"),
        ({"url": "http://x/v1", "revision": "1"}, "revision is a version of `model`"),
        ({"url": "http://x/v1", "api": "chat"}, "set dialect: openai"),
        ({"url": "http://x/v1", "concurency": 2}, "concurency"),
    ],
    ids=["no-address", "start-and-url", "revision-alone", "chat-with-ids", "misspelt"],
)
def test_settings_that_cannot_be_are_refused(checkpoint, monkeypatch, settings, why):
    monkeypatch.delenv("R1_SERVER_URL", raising=False)
    with pytest.raises(ValueError if settings else EngineError, match=why):
        open_engine(engine_settings({"name": "server", **settings}), checkpoint)


def test_of_several_models_one_must_be_named(policy, checkpoint):
    with (
        Server(policy, models=("a", "b")) as server,
        pytest.raises(EngineError, match="serves a, b: name one as `model:`"),
    ):
        opened(server, checkpoint)
