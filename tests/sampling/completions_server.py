"""An OpenAI-compatible server on a local port that samples from a real checkpoint and fails the way servers do.

`faults` names what befalls the next requests, one each, in the order in which they come; `say` is what it does without.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tasks.sampling.transformers_engine import Batch, end_tokens, sample_batch

_drawn: dict[str, list] = {}  # what was sampled once, for every server of this process
_sampling = threading.Lock()


class Server:
    def __init__(self, policy, port: int = 0, models: tuple[str, ...] = ("tiny",), seconds: float = 0.0):
        self.policy, self.models, self.seconds = policy, models, seconds
        self.root = None  # the folder that it says it serves
        self.port = port
        self.asked: list[dict] = []  # every request's body, in order of coming
        self.keys: list[str | None] = []
        self.faults: list[str] = []
        self.always = ""  # a fault that befalls every request
        self.busy = self.busiest = 0
        self.lock = threading.Lock()

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"state": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.http.daemon_threads = True
        self.port = self.http.server_port
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def samples(self, body: dict) -> list:
        """What the checkpoint says to a request; the same request gets the same samples."""
        prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        ids = self.policy.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        how = {"temperature": body["temperature"], "top_p": body["top_p"], "max_tokens": body["max_tokens"]}
        how["k"] = body.get("n", 1)
        key = json.dumps([self.policy.sha, ids, body.get("seed"), how])
        with _sampling:
            if key not in _drawn:
                _drawn[key] = sample_batch(self.policy, Batch([0], [ids], body.get("seed", 0)), **how)[0]
            return _drawn[key]

    def completion(self, body: dict) -> dict:
        choices, drawn = [], self.samples(body)
        for i, s in enumerate(drawn):
            choice = {"index": i, "text": s.text, "finish_reason": s.finish, "logprobs": None}
            if body.get("logprobs") is not None:
                choice["logprobs"] = {"token_logprobs": list(s.logprobs)}
            choices.append(choice | ({"token_ids": s.ids} if body.get("return_token_ids") else {}))
        return {"choices": choices[::-1], "usage": {"completion_tokens": sum(len(s.ids) for s in drawn)}}

    def chat(self, body: dict) -> dict:
        choices = []
        for i, s in enumerate(self.samples(body)):
            message = {"role": "assistant", "content": s.text, "reasoning_content": "thought" if i else None}
            tokens = {"content": [{"token": "", "logprob": x} for x in s.logprobs]}
            choices.append({"index": i, "message": message, "finish_reason": s.finish, "logprobs": tokens})
        return {"choices": choices}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send(200, {"data": [{"id": name, "root": self.state.root} for name in self.state.models]})

    def do_POST(self):
        state = self.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.asked.append(body)
            state.keys.append(self.headers.get("Authorization"))
            state.busy += 1
            state.busiest = max(state.busiest, state.busy)
            fault = state.always or (state.faults.pop(0) if state.faults else "")
        try:
            time.sleep(state.seconds)
            answer = state.chat if self.path.endswith("/chat/completions") else state.completion
            getattr(self, f"do_{fault}" if fault else "say")(answer(body))
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with state.lock:
                state.busy -= 1

    def say(self, answer):
        self.send(200, answer)

    def send(self, code, content, headers=(), cut=0):
        blob = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(blob) + cut))
        self.end_headers()
        self.wfile.write(blob)
        self.close_connection = self.close_connection or bool(cut)

    def do_500(self, answer):
        self.send(500, {"error": "out of memory"})

    def do_429(self, answer):
        self.send(429, {"error": "slow down"}, [("Retry-After", "0.05")])

    def do_400(self, answer):
        self.send(400, {"error": "no such parameter"})

    def do_401(self, answer):
        self.send(401, {"error": "who are you"})

    def do_cut(self, answer):
        self.send(200, json.dumps(answer)[:-9], cut=9)

    def do_reset(self, answer):
        self.close_connection = True
        self.connection.close()

    def do_html(self, answer):
        self.send(200, "<html>a proxy's page</html>")

    def do_slow(self, answer):
        time.sleep(6)
        self.say(answer)

    def do_error_in_200(self, answer):
        self.send(200, {"error": {"message": "the engine died"}})

    def changed(self, answer, **values):
        answer["choices"][0] |= values
        self.say(answer)

    def do_aborted(self, answer):
        self.changed(answer, finish_reason="abort")

    def do_no_tokens(self, answer):
        self.changed(answer, token_ids=[], text="")

    def do_no_text(self, answer):
        self.changed(answer, text=None)

    def do_unequal(self, answer):
        self.changed(answer, logprobs={"token_logprobs": [-1.0]}, token_ids=[5, 6])

    def do_nan(self, answer):
        answer["choices"][0]["logprobs"]["token_logprobs"][0] = float("nan")
        self.say(answer)

    def do_above_0(self, answer):
        answer["choices"][0]["logprobs"]["token_logprobs"][0] = 0.5
        self.say(answer)

    def do_twice(self, answer):
        self.say(answer | {"choices": answer["choices"][:1] * len(answer["choices"])})

    def do_odd_types(self, answer):
        self.changed(answer, logprobs=None, token_ids=["5", None])

    def do_too_long(self, answer):
        self.changed(answer, finish_reason="length", token_ids=[5] * 9, logprobs={"token_logprobs": [-1.0] * 9})

    def do_withheld(self, answer):
        self.changed(answer, finish_reason="content_filter")

    def do_no_ids(self, answer):
        answer["choices"][0].pop("token_ids")
        self.say(answer)

    def do_no_logprobs(self, answer):
        self.changed(answer, logprobs=None)

    def do_fewer(self, answer):
        self.say(answer | {"choices": answer["choices"][:1]})

    def do_short(self, answer):
        ids = [
            i
            for i in answer["choices"][0]["token_ids"]
            if i not in end_tokens(self.state.policy.model, self.state.policy.tokenizer)
        ]
        self.changed(
            answer, finish_reason="length", token_ids=ids[:2], logprobs={"token_logprobs": [-1.0] * len(ids[:2])}
        )
