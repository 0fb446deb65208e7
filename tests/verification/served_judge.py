"""A chat endpoint on a local port that fails the way endpoints do; what it answers is decided by comparing the fields.

A question that holds `[name]` brings on the failure of that name, as often as `Server.times` says.
"""

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    def __enter__(self):
        self.asked: list[dict] = []
        self.when: list[float] = []
        self.seen: Counter = Counter()
        self.times = 1
        self.verdict = ""  # what it says to everything, in place of comparing
        self.busy = self.busiest = 0
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"state": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def log_message(self, *_):
        pass

    def do_POST(self):
        state = self.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["messages"][-1]["content"]
        with state.lock:
            state.asked.append(body)
            state.when.append(time.monotonic())
            state.seen[asked] += 1
            nth = state.seen[asked]
            state.busy += 1
            state.busiest = max(state.busiest, state.busy)
        try:
            fault = re.search(r"\[([a-z0-9-]+)\]", asked)
            if fault and nth <= state.times:
                getattr(self, "do_" + fault[1].replace("-", "_"))(body)
            else:
                time.sleep(0.01)
                self.say(state.verdict or verdict(json.loads(asked)))
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with state.lock:
                state.busy -= 1

    def say(self, text, finish="stop"):
        self.send(200, {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]})

    def send(self, code, content, headers=(), cut=0):
        blob = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(blob) + cut))
        self.end_headers()
        self.wfile.write(blob)
        if cut:
            self.close_connection = True

    def do_500(self, body):
        self.send(500, {"error": "out of memory"})

    def do_429(self, body):
        self.send(429, {"error": "slow down"}, [("Retry-After", "0.5")])

    def do_429_long(self, body):
        self.send(429, {"error": "slow down"}, [("Retry-After", "3600")])

    def do_400(self, body):
        self.send(400, {"error": "the context is too long"})

    def do_401(self, body):
        self.send(401, {"error": "who are you"})

    def do_cut(self, body):
        self.send(200, '{"choices": [{"mess', cut=500)

    def do_html(self, body):
        self.send(200, "<html>a proxy's page</html>")

    def do_empty(self, body):
        self.say("  ")

    def do_null(self, body):
        self.say(None)

    def do_long(self, body):
        if body["max_tokens"] < 100:
            self.say("Reason: it is a long", "length")
        else:
            self.say("Reason: long\nVerdict: correct")

    def do_longer(self, body):
        self.say("Reason: it never", "length")

    def do_vague(self, body):
        self.say("It depends on what one calls correct.")

    def do_slow(self, body):
        time.sleep(1.5)
        self.say("Reason: late\nVerdict: correct")

    def do_drip(self, body):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(30):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.1)

    def do_reset(self, body):
        self.close_connection = True
        self.connection.close()


def verdict(data: dict) -> str:
    """Right where prediction and reference are the same; of two responses the longer, or the first by bias."""
    if "reference" in data:
        same = data["reference"].strip() == data["prediction"].strip()
        return f"<think>Verdict: correct?</think>Reason: compared\n**Verdict: {'correct' if same else 'incorrect'}**"
    if "[biased]" in data["request"] or "[tied]" in data["request"]:
        return f"Reason: where it stands\nVerdict: {'first' if '[biased]' in data['request'] else 'tie'}"
    return f"Reason: more of it\nVerdict: {'first' if len(data['first']) > len(data['second']) else 'second'}"


_Handler.do_biased = _Handler.do_tied = lambda self, body: self.say(
    verdict(json.loads(body["messages"][-1]["content"]))
)
