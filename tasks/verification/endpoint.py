"""A client for any OpenAI-compatible chat endpoint: many questions side by side, each answered or failed in time.

Failures that may pass (no connection, time-out, 408, 409, 425, 429, 5xx, a body cut short, an empty reply) are tried
again with exponential back-off, or after what `Retry-After` says; the others fail at once. A reply that was cut off at
`max_tokens` is asked for once more with twice the room. Good replies are kept on disk under the hash of the request, so
the same question is never paid for twice. There is no silent empty reply: every question gets a text or an error.
"""

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field

from tasks.sampling import http
from tasks.sampling.http import Final, Passing
from tasks.settings import Settings

_log = logging.getLogger(__name__)
FAILURES_IN_A_ROW = 20  # of different questions: the endpoint is down, the rest fail at once instead of one by one


class EndpointSettings(Settings):
    """Where a served model is, and how it is asked."""

    url: str = Field(description="base URL up to and including /v1")
    model: str = Field(min_length=1, description="its name at the endpoint")
    revision: str = Field("", description="part of the cache key: change it when other weights go by the same name")
    key_variable: str = Field(
        "OPENAI_API_KEY", description="environment variable with the API key; unset: no key is sent"
    )
    temperature: float = Field(0.0, ge=0)
    max_tokens: int = Field(
        512, ge=1, description="of a reply; a reply cut off there is asked for once with twice as many"
    )
    seed: int | None = Field(0, description="sent along; null for an endpoint that refuses it")
    concurrency: int = Field(16, ge=1, description="questions on the wire at the same time")
    attempts: int = Field(5, ge=1, description="tries of a question before it fails")
    timeout: float = Field(120.0, gt=0, description="seconds of one try, from the connection to the last byte")
    backoff: float = Field(1.0, ge=0, description="seconds before the second try; doubled before each further one")
    max_wait: float = Field(60.0, ge=0, description="seconds between two tries at most, whatever Retry-After says")


@dataclass(frozen=True)
class Reply:
    """What came of one question: `text` or `error`, never neither."""

    text: str | None
    error: str = ""
    cached: bool = False
    tries: int = 0


class Endpoint:
    """Asks a served model. `cache`: folder of replies, None for none. Use it as a context manager or call `close`."""

    def __init__(self, settings: EndpointSettings, cache: Path | None = None):
        self.settings, self.cache = settings, Path(cache) if cache else None
        self.client = http.client(settings.key_variable, settings.concurrency, settings.timeout)
        self.lock = threading.Lock()
        self.failures = 0  # questions that failed since the last one that did not
        self.closing = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def name(self) -> str:
        """What decides a reply, for the verifier's hash: not where it is served, nor how patiently it is asked."""
        s = self.settings
        return f"{s.model} {s.revision} {s.temperature} {s.max_tokens} {s.seed}"

    def close(self) -> None:
        self.closing.set()
        self.client.close()

    def ask_all(
        self, conversations: list[list[dict]], progress: Callable[[int, int], None] | None = None
    ) -> list[Reply]:
        """A reply to each conversation (a list of chat messages), in order; the same one is asked once."""
        bodies = [self._body(messages) for messages in conversations]
        keys = [_digest({"revision": self.settings.revision, **body}) for body in bodies]
        wanted = dict(zip(keys, bodies))
        replies: dict[str, Reply] = {}
        self.failures = 0
        with ThreadPoolExecutor(min(self.settings.concurrency, max(1, len(wanted)))) as threads:
            try:
                for key, reply in zip(wanted, threads.map(self._ask, wanted, wanted.values())):
                    replies[key] = reply
                    if progress:
                        progress(len(replies), len(wanted))
            except BaseException:  # Ctrl-C: leave no thread waiting for its next try
                self.closing.set()
                threads.shutdown(cancel_futures=True)
                raise
        return [replies[key] for key in keys]

    def ask(self, messages: list[dict]) -> Reply:
        """A reply to one conversation, from any thread; how many at once is the caller's to bound."""
        body = self._body(messages)
        return self._ask(_digest({"revision": self.settings.revision, **body}), body)

    def _body(self, messages: list[dict]) -> dict:
        s = self.settings
        body = {"model": s.model, "messages": messages, "temperature": s.temperature, "max_tokens": s.max_tokens}
        return body if s.seed is None else body | {"seed": s.seed}

    def _ask(self, key: str, body: dict) -> Reply:
        if (known := self._read(key)) is not None:
            return Reply(known, cached=True)
        s, tries, problem, down = self.settings, 0, "", True
        while tries < s.attempts and not self.closing.is_set():
            if self.failures >= FAILURES_IN_A_ROW:
                return Reply(None, f"not asked: {FAILURES_IN_A_ROW} questions in a row failed at {s.url}", tries=tries)
            tries += 1
            try:
                text = self._post(body)
                self._keep(key, body, text)
                with self.lock:
                    self.failures = 0
                return Reply(text, tries=tries)
            except Passing as error:
                problem = str(error)
                if tries < s.attempts:
                    self.closing.wait(http.pause(key, tries, error.wait, s.backoff, s.max_wait))
            except Final as error:
                problem, down = str(error), error.down
                break
        with self.lock:
            self.failures += down
        return Reply(None, f"{s.url}: {problem or 'closed'} ({tries} {'tries' if tries != 1 else 'try'})", tries=tries)

    def _post(self, body: dict) -> str:
        """The text of one reply; a reply cut off at max_tokens is asked for once more with twice the room."""
        for factor in (1, 2):
            choice = self._choice(body | {"max_tokens": factor * body["max_tokens"]})
            if choice.get("finish_reason") != "length":
                break
        else:
            raise Final(f"the reply is cut off at {factor * body['max_tokens']} tokens: raise max_tokens")
        text = (choice.get("message") or {}).get("content")
        if not isinstance(text, str) or not text.strip():
            raise Passing("the reply is empty")
        return text

    def _choice(self, body: dict) -> dict:
        """The first choice of one request."""
        s = self.settings
        answer = http.ask(self.client, f"{s.url.rstrip('/')}/chat/completions", body, s.timeout, s.key_variable)
        try:
            return answer["choices"][0]
        except (LookupError, TypeError) as error:
            raise Passing(f"the reply is no chat completion ({type(error).__name__}): {str(answer)[:300]}") from error

    def _read(self, key: str) -> str | None:
        if (cache := self.cache) is None:
            return None
        try:
            kept = json.loads(_place(cache, key).read_text(encoding="utf-8"))
            return kept["text"] if kept["sha"] == _digest(kept["text"]) else None
        except (OSError, ValueError, LookupError, TypeError):  # a damaged entry is asked for again
            return None

    def _keep(self, key: str, body: dict, text: str) -> None:
        """Writes a reply to the cache; one that cannot be written (a full disk) is told once and costs no reply."""
        try:
            self._write(key, body, text)
        except OSError as error:
            _log.warning("%s: replies are no longer kept: %s", self.cache, error)
            self.cache = None

    def _write(self, key: str, body: dict, text: str) -> None:
        if (cache := self.cache) is None:
            return
        place = _place(cache, key)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        entry = {"text": text, "sha": _digest(text), "revision": self.settings.revision, "request": body}
        try:
            partial.write_text(json.dumps(entry), encoding="utf-8")
            partial.replace(place)  # a reader can never see half an entry
        finally:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()


def _place(cache: Path, key: str) -> Path:
    return cache / key[:2] / f"{key}.json"


def _digest(content) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
