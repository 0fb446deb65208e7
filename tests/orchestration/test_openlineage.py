"""OpenLineage events of the toy's books: derived, idempotent, received by an HTTP server as they are written to a file."""

import json
import os
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import pytest

from flows.orchestration import openlineage
from flows.orchestration.lineage import Lineage
from flows.orchestration.params import ParamsError

SPEC = os.environ.get("R1_OPENLINEAGE_SPEC")  # folder of the published spec: OpenLineage.json and facets/*.json


@pytest.fixture(scope="module")
def once(oak_template, tmp_path_factory):
    toy = oak_template.copy(tmp_path_factory.mktemp("lineage") / "toy")
    toy.git("remote", "add", "origin", "https://me:s3cret@example.org/a/toy.git")
    return toy


@pytest.fixture()
def built(once, tmp_path):
    return once.copy(tmp_path / "toy")


@pytest.fixture()
def receiver():
    """An HTTP server that keeps what it is sent; it answers 500 to the second event where told to."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server.asked.append((self.path, self.headers.get("authorization"), json.loads(body)))
            self.send_response(400 if len(self.server.asked) == self.server.refuse else 201)
            self.end_headers()

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.asked, running.refuse = [], 0
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def events(toy, **options) -> list[dict]:
    books = Lineage.at(toy.root)
    return [openlineage.as_json(e) for e in openlineage.Events(books, **options).of(books.records)]


def test_start_and_complete_of_what_was_built_and_the_edges_of_the_dag(built):
    found = events(built)
    assert [(e["job"]["name"], e["eventType"]) for e in found] == [
        ("numbers", "START"), ("numbers", "COMPLETE"), ("grow@oak", "START"), ("grow@oak", "COMPLETE"),
    ]  # fmt: skip
    numbers, grow = found[1], found[3]
    made = {(d["namespace"], d["name"]) for d in numbers["outputs"]}
    assert made & {(d["namespace"], d["name"]) for d in grow["inputs"]}, "what one stage made is what the next one read"
    assert len({e["run"]["runId"] for e in found}) == 2
    book = json.loads(built.read("work/runs/grow@oak.json"))
    assert grow["eventTime"] == book["finished"].replace("Z", "+00:00")
    assert grow["job"]["facets"]["sourceCode"]["sourceCode"] == built.read("flows/grow.py")
    place = grow["job"]["facets"]["sourceCodeLocation"]
    assert place["url"] == "https://example.org/a/toy.git" and "s3cret" not in json.dumps(found)
    asked = {p["key"]: json.loads(p["value"]) for p in grow["run"]["facets"]["executionParameters"]["parameters"]}
    assert asked == Lineage.at(built.root).records["grow@oak"].params


def test_the_same_books_give_the_same_events_and_others_give_another_run(built, tmp_path):
    first, again = tmp_path / "a.ndjson", tmp_path / "b.ndjson"
    for file in (first, again, again):  # a second export replaces the first
        books = Lineage.at(built.root)
        assert openlineage.to_file(openlineage.Events(books).of(books.records), file) == 4
    assert first.read_bytes() == again.read_bytes() and len(first.read_text().splitlines()) == 4
    before = {e["job"]["name"]: e["run"]["runId"] for e in events(built)}
    assert all(str(uuid.UUID(run)) == run for run in before.values())
    built.set("grow.plants.oak.steps", 9)
    assert {e["job"]["name"]: e["run"]["runId"] for e in events(built)} == before, "dvc.lock still tells of the old one"
    built.dvc("repro", "grow@oak")
    after = {e["job"]["name"]: e["run"]["runId"] for e in events(built)}
    assert after["numbers"] == before["numbers"] and after["grow@oak"] != before["grow@oak"]


def test_a_server_receives_what_the_file_holds(built, receiver, tmp_path):
    books, url = Lineage.at(built.root), f"http://127.0.0.1:{receiver.server_port}"
    make = openlineage.Events(books, "lab").of
    assert openlineage.to_server(make(books.records), url, key="k3y") == 4
    openlineage.to_file(make(books.records), tmp_path / "events.ndjson")
    written = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    assert [event for _, _, event in receiver.asked] == written
    assert {(path, key) for path, key, _ in receiver.asked} == {("/api/v1/lineage", "Bearer k3y")}
    assert {e["job"]["namespace"] for e in written} == {"lab"}


def test_a_server_that_refuses_or_is_not_there_and_a_file_that_cannot_be(built, receiver, tmp_path):
    books = Lineage.at(built.root)
    receiver.refuse = 2
    with pytest.raises(ParamsError, match="took 1 events and then failed"):
        openlineage.to_server(openlineage.Events(books).of(books.records), f"http://127.0.0.1:{receiver.server_port}")
    kept = tmp_path / "kept.ndjson"
    kept.write_text("before\n")

    def broken():
        yield from openlineage.Events(books).of(["numbers"])
        raise RuntimeError("the disk is full")

    with pytest.raises(ParamsError, match=r"kept\.ndjson could not be written"):
        openlineage.to_file(broken(), kept)
    assert kept.read_text() == "before\n" and [p.name for p in tmp_path.glob("*.new")] == []


@pytest.mark.skipif(
    not SPEC, reason="R1_OPENLINEAGE_SPEC names no folder with the published OpenLineage.json and facets/"
)
def test_events_are_valid_by_the_published_schema(built):
    from referencing import Registry, Resource

    folder = Path(SPEC)
    core = json.loads((folder / "OpenLineage.json").read_text())
    facets = [json.loads(f.read_text()) for f in sorted((folder / "facets").glob("*.json"))]

    def retrieve(uri: str) -> Resource:  # each facet names the core of its own day; here there is one core
        if uri.endswith("/OpenLineage.json"):
            return Resource.from_contents(core)
        raise LookupError(uri)

    registry = Registry(retrieve=retrieve).with_resources(
        [(s["$id"], Resource.from_contents(s)) for s in (core, *facets)]
    )

    def validate(value: dict, address: str):
        schema, formats = {"$ref": address}, jsonschema.Draft202012Validator.FORMAT_CHECKER
        jsonschema.Draft202012Validator(schema, registry=registry, format_checker=formats).validate(value)

    checked = set()
    for event in events(built):
        validate(event, f"{core['$id']}#/$defs/RunEvent")
        for home in (event["run"], event["job"], *event["inputs"], *event.get("outputs", [])):
            for facet in (f for key in ("facets", "inputFacets", "outputFacets") for f in home.get(key, {}).values()):
                address = facet["_schemaURL"]
                if address.partition("#")[0] in registry:  # this very version: another one may ask for more
                    validate(facet, address)
                    checked.add(address)
    assert checked, "at least one facet in the version that the folder holds"
