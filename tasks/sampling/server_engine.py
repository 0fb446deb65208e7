"""Any OpenAI-compatible server as an engine: `vllm serve`, SGLang, `transformers serve`, a vendor's API.

Requests go out side by side, each for some samples of one prompt, and every one that is answered is in the ledger before
it counts: a stage or a server that is killed costs the requests that were on the wire and no other. A request is tried
again with back-off when it fails in a way that may pass; what stays fails the stage, with what is finished kept.
"""

import os
import queue
import threading
import time
from collections import Counter
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tasks.provenance.artifacts import weights_sha
from tasks.rows import derive_seed
from tasks.sampling import http, servers
from tasks.sampling.answers import AnswerError, samples_of
from tasks.sampling.http import Final, Passing
from tasks.sampling.ledger import Ledger, digest
from tasks.sampling.policy import TokenizerOf
from tasks.sampling.sample import EngineError, Sample, checked
from tasks.sampling.settings import ServerSettings

if TYPE_CHECKING:
    from tasks.progress import Progress

URL = "R1_SERVER_URL"


@dataclass(frozen=True)
class _Request:
    """Some samples of one prompt: where they go, what is asked, and the key of both in the ledger."""

    place: int
    first: int  # index of its first sample among the k of the prompt
    n: int
    body: dict
    key: str


class ServerEngine(TokenizerOf):
    """`settings.url` as an Engine on the weights of `checkpoint`. `ledger`: keeps finished requests; None for none.

    `server`: what was started for it and ends with it; None where somebody else's is asked.
    """

    name = "server"

    def __init__(
        self,
        settings: ServerSettings,
        checkpoint: Path,
        ledger_folder: Path | None = None,
        server: servers.Server | None = None,
    ):
        self.settings, self.server, self.checkpoint = settings, server, checkpoint
        self.url = (server.url if server else settings.url or os.environ.get(URL, "")).rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise EngineError(
                f"engine server: no address: give `url:` (http://host:port/v1), set ${URL}, or say `start: true`"
            )
        self.dialect = server.program.name if server else settings.dialect
        self.continues = settings.api == "completions"
        self.client = http.client(settings.key_variable, settings.concurrency, settings.timeout)
        self.model = server.model if server else settings.model or self._only_model()
        foreign = settings.revision is not None
        self.sha = f"{self.model}@{settings.revision}" if foreign else weights_sha(checkpoint)
        self.protocol = {"samples_per_request": settings.samples_per_request}
        self.protocol |= {} if self._exact else {"api": settings.api, "dialect": self.dialect}
        self.protocol |= {} if settings.send_seed else {"send_seed": False}
        self.protocol |= {"dtype": settings.serving.dtype} if server and settings.serving.dtype != "auto" else {}
        self.ledger = Ledger(ledger_folder / f"samples-server-{digest(self.sha)[:16]}.jsonl") if ledger_folder else None
        self._stop = threading.Event()
        self._answered = time.monotonic()  # when the server last gave a sign of life

    @property
    def _exact(self) -> bool:
        """Whether prompts go and completions come as token ids, so that they are what any engine of ours gives."""
        return self.dialect == "vllm" and self.continues

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self.client.close()
        if self.ledger is not None:
            self.ledger.close()
        if self.server:
            self.server.stop()

    def sample(
        self, prompts: list[str], k: int, temperature: float, top_p: float, max_tokens: int, seed: int,
        progress: "Progress | None" = None,
    ) -> list[list[Sample]]:  # fmt: skip
        """See Engine.sample; `progress` hears of prompts as their last sample comes in."""
        checked(prompts, k, temperature, top_p, max_tokens)
        requests = self._requests(prompts, k, temperature, top_p, max_tokens, seed)
        out: list[list[Sample | None]] = [[None] * k for _ in prompts]
        missing, done, tokens = [k] * len(prompts), 0, 0
        for request, (samples, fresh) in self._answers(requests, max_tokens):
            out[request.place][request.first : request.first + request.n] = samples
            missing[request.place] -= request.n
            done += missing[request.place] == 0
            tokens += sum(s.tokens or 0 for s in samples) if fresh else 0
            if progress:
                progress(done, len(prompts), "prompts", tokens=tokens)
        return out

    def _requests(self, prompts: list[str], k: int, temperature, top_p, max_tokens, seed) -> list[_Request]:
        """What is asked, seeded by prompt and sample, not by place: another order asks for the same."""
        ids = self.tokenizer(prompts, add_special_tokens=False)["input_ids"] if self._exact and prompts else prompts
        seen: Counter[str] = Counter()
        requests = []
        for place, prompt in enumerate(prompts):
            seen[prompt] += 1
            for first in range(0, k, self.settings.samples_per_request):
                n = min(self.settings.samples_per_request, k - first)
                its_seed = derive_seed(seed, "request", prompt, seen[prompt], first)
                body = self._body(ids[place], n, temperature, top_p, max_tokens, its_seed)
                # a server that takes no seed is asked anew for a prompt that comes twice: the key tells them apart
                requests.append(_Request(place, first, n, body, digest([self.sha, its_seed, body])))
        return requests

    def _body(
        self, prompt: str | list[int], n: int, temperature: float, top_p: float, max_tokens: int, seed: int
    ) -> dict:
        """One request in the server's dialect; every sampling setting is said, since a server has defaults of its own."""
        s = self.settings
        body = {"model": self.model, "max_tokens": max_tokens, "temperature": temperature, "top_p": top_p}
        body |= {"messages": [{"role": "user", "content": prompt}]} if s.api == "chat" else {"prompt": prompt}
        body |= {"n": n} if n > 1 else {}
        body |= {"seed": seed} if s.send_seed else {}
        if self._tells_logprobs(temperature, top_p):
            body |= {"logprobs": True} if s.api == "chat" else {"logprobs": 0 if self.dialect == "vllm" else 1}
        if self.dialect == "vllm":  # without these, top_k and the like come from the checkpoint's generation config
            body |= {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "stop_token_ids": self.end}
            body |= {"return_token_ids": True}
        if self.dialect == "transformers":
            body |= {"generation_config": self._generation_config(temperature, top_p, max_tokens)}
        return body

    def _tells_logprobs(self, temperature: float, top_p: float) -> bool:
        """Whether log-probabilities are asked for: those of T = 1 and top-p 1, whatever the samples are drawn with.

        vLLM gives them of the raw logits; others of the distribution that is sampled (github.com/sgl-project/sglang/pull/8375),
        which is the same only at T = 1 and top-p 1.
        """
        plain = temperature == 1 and top_p == 1
        return self.settings.logprobs and (self.dialect == "vllm" or (self.dialect == "openai" and plain))

    def _generation_config(self, temperature: float, top_p: float, max_tokens: int) -> str:
        """For `transformers serve`, which otherwise decodes greedily whatever the temperature."""
        import json

        sampled = {"do_sample": temperature > 0, "temperature": temperature or None, "top_p": top_p, "top_k": 0}
        ends = {"eos_token_id": self.end, "pad_token_id": self.tokenizer.pad_token_id, "max_new_tokens": max_tokens}
        return json.dumps(sampled | ends)

    def _only_model(self) -> str:
        """The name of the one model that the server serves."""
        try:
            listed = http.ask(
                self.client, f"{self.url}/models", None, 30.0, self.settings.key_variable, "list of models"
            )
            names = [str(m["id"]) for m in listed["data"]]
            places = [m.get("root") for m in listed["data"]]
        except (Passing, Final, LookupError, TypeError) as error:
            raise EngineError(
                f"engine server: {self.url}/models: {error}; is it running? Or name its `model:`"
            ) from None
        if len(names) != 1:
            raise EngineError(
                f"engine server: {self.url} serves {', '.join(names) or 'no model'}: name one as `model:`"
            )
        self._the_same(places[0])
        return names[0]

    def _the_same(self, root: str | None) -> None:
        """EngineError where the folder that the server says it serves lies here and holds other weights."""
        if not isinstance(root, str) or not list(Path(root).glob("*.safetensors")):
            return
        if (theirs := weights_sha(Path(root))) != (ours := weights_sha(self.checkpoint)):
            raise EngineError(
                f"engine server: {self.url} serves {root}, whose weights ({theirs[:12]}) are not those of {self.checkpoint} "
                f"({ours[:12]}): serve that, or name the other model with `model` and `revision`"
            )

    def _answers(self, requests: list[_Request], max_tokens: int):
        """(request, (samples, whether they were asked for now)) of each as it comes; EngineError once one is lost."""
        todo = []
        for request in requests:
            if self.ledger is not None and (kept := self.ledger.get(request.key)) is not None:
                yield request, ([Sample(*s) for s in kept], False)
            else:
                todo.append(request)
        if not todo:
            return
        self._answered = time.monotonic()
        waiting: queue.SimpleQueue = queue.SimpleQueue()
        answered: queue.SimpleQueue = queue.SimpleQueue()
        for request in todo:
            waiting.put(request)
        stop = threading.Event()  # of this call: who is told after it keeps what it gets and asks no more
        for _ in range(min(self.settings.concurrency, len(todo))):  # daemons: Ctrl-C waits for no answer
            threading.Thread(target=self._work, args=(waiting, answered, stop, max_tokens), daemon=True).start()
        try:
            for done in range(len(todo)):
                request, found = answered.get()
                if isinstance(found, (Final, AnswerError)):
                    raise self._lost(found, done, len(todo)) from None
                if isinstance(found, Exception):  # a full disk, or a fault of ours
                    raise found
                yield request, (found, True)
        finally:
            stop.set()

    def _lost(self, error: Exception, done: int, of: int) -> EngineError:
        kept = f"{done} of {of} requests were answered"
        kept += "; they are kept, and the next run asks for the rest" if self.ledger is not None else ""
        return EngineError(f"engine server: {self.url}: {error}. {kept}")

    def _work(
        self, waiting: queue.SimpleQueue, answered: queue.SimpleQueue, stop: threading.Event, max_tokens: int
    ) -> None:
        """One thread: ask, keep, hand over, until nothing waits."""
        while not stop.is_set() and not self._stop.is_set():
            try:
                request = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                samples = self._ask(request, stop, max_tokens)
                if self.ledger is not None:
                    self.ledger.add(request.key, [astuple(s) for s in samples])
                answered.put((request, samples))
            except Exception as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
                answered.put((request, error))
                return

    def _ask(self, request: _Request, stop: threading.Event, max_tokens: int) -> list[Sample]:
        """The samples of one request; Final once it has failed for good."""
        s, tries, bad = self.settings, 0, 0
        url = f"{self.url}/{'chat/completions' if s.api == 'chat' else 'completions'}"
        while True:
            tries += 1
            try:
                answer = http.ask(self.client, url, request.body, s.timeout, s.key_variable, "completion")
                self._answered = time.monotonic()
                tokenizer = self.tokenizer if self._exact else None
                wanted = "logprobs" in request.body
                return samples_of(
                    answer, request.n, s.api, tokenizer, self.end if tokenizer is not None else [], wanted, max_tokens
                )
            except Passing as error:
                bad += error.reached
                if error.reached:  # it lived until now, if only to lose a request of hours by its death
                    self._answered = time.monotonic()
                self._give_up(error, bad)
                stop.wait(http.pause(request.key, tries, error.wait, s.backoff, s.max_wait))
                if stop.is_set() or self._stop.is_set():
                    raise Final("no longer asked for") from None

    def _give_up(self, error: Passing, bad: int) -> None:
        """Final where a further try would be in vain: too many bad answers, or nobody there for too long."""
        s = self.settings
        if self.server and self.server.problem:
            raise Final(f"{self.server.problem} (its log: {self.server.log})") from None
        if bad >= s.attempts:
            raise Final(f"{error} ({bad} {'tries' if bad != 1 else 'try'})") from None
        silent = time.monotonic() - self._answered
        if not error.reached and silent > s.give_up:
            raise Final(f"{error}; nobody has answered for {silent:.0f} s (give_up: {s.give_up:g})") from None


def open_here(settings: ServerSettings, checkpoint: Path, work: Path | None, threads: int) -> ServerEngine:
    """The engine, with a server of its own on `checkpoint` where `settings.start`; its log is serve.log in `work`."""
    if not settings.start:
        return ServerEngine(settings, checkpoint, work)
    if work is None:
        raise EngineError("engine server: start: true needs a work folder for the server's log")
    serving = settings.serving if settings.serving.threads else settings.serving.model_copy(update={"threads": threads})
    if settings.logprobs and servers.choose(serving.engine).name == "transformers":
        raise EngineError(
            "engine server: `transformers serve`, which is what would be started, gives no log-probabilities: set "
            f"logprobs: false, or have vLLM here: {servers.REMEDY}"
        )
    server = servers.start(checkpoint, work / "serve.log", serving)
    try:
        return ServerEngine(settings, checkpoint, work, server)
    except BaseException:
        server.stop()
        raise
