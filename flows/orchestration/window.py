"""Puts a stage's page on the Prefect server: progress, curve and rollouts while it runs, everything once it is published.

All of it happens in a thread of its own. Whatever the server does, refuse, hang or die, the stage neither fails nor
waits longer than `LIMIT` seconds for it.
"""

import io
import json
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from flows.orchestration.page import Shown, key, latest_rollouts, learning_curve, page, throughput
from flows.orchestration.progress import human, parts

if TYPE_CHECKING:
    from flows.orchestration.stage import Run

EVERY = 5.0  # seconds between looks at a running stage
REDRAW = 30.0  # seconds between versions of its curve and rollouts
LIMIT = 10.0  # seconds that a published stage waits for its page
TRIES = 3  # failures in a row after which a running stage is no longer shown


class Window:
    """`with Window(run, flow_run_id) as window: …; window.conclude()`."""

    def __init__(self, run: "Run", flow_run_id: Any):
        self._run, self._flow_run_id = run, flow_run_id
        self._ids: dict[str, Any] = {}  # of the artifacts so far, by what they show
        self._redrawn = time.monotonic()
        self._end = threading.Event()
        self._published = False
        self._thread = threading.Thread(target=self._follow, name="window", daemon=True)

    def __enter__(self) -> "Window":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._published = kind is None
        self._end.set()

    def conclude(self) -> bool:
        """Wait for the page of a published stage, `LIMIT` seconds at most; whether it is all there."""
        self._thread.join(LIMIT)
        return not self._thread.is_alive()

    def _follow(self) -> None:
        try:
            from prefect.client.orchestration import get_client

            with get_client(sync_client=True) as client:
                self._watch(client)
                if self._published:
                    self._finish(client)
        except Exception as exc:  # a courtesy: never the reason for a stage to fail
            _say(f"[{self._run.stage}] its page in Prefect ends here: {exc!r}")

    def _watch(self, client: Any) -> None:
        failed = 0
        while failed < TRIES and not self._end.wait(EVERY):
            try:
                for shown in self._now():
                    self._put(client, shown)
                failed = 0
            except Exception as exc:
                failed += 1
                _say(f"[{self._run.stage}] Prefect did not take its progress: {exc!r}")
        self._end.wait()

    def _now(self) -> Iterator[Shown]:
        """What is new of the running stage."""
        told = self._run.progress
        if told.latest["total"]:
            yield progress(told.latest)
        if time.monotonic() - self._redrawn >= REDRAW:
            self._redrawn = time.monotonic()
            if shown := learning_curve(self._run.node, list(told.points), live=True):
                yield shown
            if shown := throughput(self._run.node, list(told.timings)):
                yield shown
            if shown := latest_rollouts(self._run.node, told.rollouts):
                yield shown

    def _finish(self, client: Any) -> None:
        told = self._run.progress
        if told.latest["total"]:
            self._put(client, progress(told.latest | {"left": None}))
        if shown := throughput(self._run.node, told.timings):
            self._put(client, shown)
        for shown in page(
            self._run.root, self._run.node, told.rollouts, lambda stages: self._linked(client, stages), _say
        ):
            self._put(client, shown)

    def _linked(self, client: Any, makers: Collection[str]) -> dict[str, str]:
        """Address of the latest lineage of each of the stages that has one on this server."""
        from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey

        stages = {key("lineage", s): s for s in makers}
        wanted = ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=list(stages)))
        found = client.read_latest_artifacts(artifact_filter=wanted, limit=200) if stages else []
        return {stages[artifact.key]: f"/artifacts/artifact/{artifact.latest_id}" for artifact in found}

    def _put(self, client: Any, shown: Shown) -> None:
        """Make the artifact, or give the one that is there its new content."""
        from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

        data = json.dumps(shown.data) if shown.type == "table" else shown.data  # as Prefect's own tables
        content = {"data": data, "description": shown.description}
        if shown.key in self._ids:
            client.update_artifact(self._ids[shown.key], ArtifactUpdate(**content))
            return
        name = key(shown.key, self._run.stage)
        made = ArtifactCreate(key=name, type=shown.type, flow_run_id=self._flow_run_id, **content)
        self._ids[shown.key] = client.create_artifact(made).id


class Lines(io.TextIOBase):
    """A standard output whose lines go to a logger, from every thread; all else it leaves to the one it stands for.

    Prefect's own log_prints replaces `print`, which breaks libraries that capture standard output (dill does, for
    every data set that TRL is given).
    """

    def __init__(self, say: Callable[[str], None], stream: TextIO):
        self._say, self._stream, self._rest, self._lock = say, stream, "", threading.Lock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._say(line)
        return len(text)


def progress(latest: dict) -> Shown:
    """The bar, and beside it the count, the rates and the time left."""
    share = min(100.0, 100.0 * latest["done"] / latest["total"])
    words = [*parts(latest)[1:], f"after {human(latest['seconds'])}"]
    return Shown("progress", "progress", share, " · ".join(words))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
