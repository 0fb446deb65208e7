"""A server that speaks as much of the Hub's HTTP API as huggingface_hub needs to make a repository, push to it and read it.

Real HTTP on 127.0.0.1, repositories in memory: create, info, validate-yaml, preupload, LFS (basic transfer), commit, tree,
resolve. Whoever sends no token is nobody (401), one that may only read gets 403. What the Hub does beyond that (Xet storage,
pull requests, its checks of metadata) is not here.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

WRITES, READS = "hf_writes", "hf_reads"  # tokens
API = re.compile(r"/api/(models|datasets)/([\w.-]+/[\w.-]+)(?:/(\w+)/([^/?]+))?")
RESOLVE = re.compile(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/(\w+)/(.+)")
BATCH = re.compile(r"/(datasets/)?([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch")


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors filter=lfs\n"})
    commits: list[dict] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr((self.commits, sorted(self.files))).encode()).hexdigest()


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[tuple[str, str], Repository] = {}  # ("datasets", "me/x")
        self.lfs: dict[str, bytes] = {}  # sha256 -> content
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running():
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args) -> None:
        pass

    def do_POST(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        self.server.asked.append(f"POST {path}")
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body))
        if self._token() != WRITES:
            return self._answer(403 if self._token() else 401, {"error": "you may not write here"})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if BATCH.fullmatch(path):
            return self._batch(json.loads(body))
        kind, name, what, _ = API.fullmatch(path).groups()
        repository = self.server.repositories[kind, name]
        return self._preupload(repository, json.loads(body)) if what == "preupload" else self._commit(kind, name, body)

    def do_PUT(self) -> None:
        body, oid = self._body(), self.path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != oid:
            return self._answer(400, {"error": "other bytes than were announced"})
        self.server.lfs[oid] = body
        self._answer(200, {})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"GET {path}")
        if found := RESOLVE.fullmatch(path):
            return self._resolve(*found.groups())
        kind, name, what, _ = API.fullmatch(path).groups()
        repository = self._seen(kind, name)
        if repository is None:
            return self._missing("RepoNotFound")
        entries = [
            {"type": "file", "path": p, "size": len(c), "oid": _blob(c)} for p, c in sorted(repository.files.items())
        ]
        if what == "tree":
            return self._answer(200, entries)
        siblings = [{"rfilename": e["path"]} for e in entries]
        self._answer(
            200,
            {
                "id": name,
                "private": repository.private,
                "sha": repository.sha,
                "siblings": siblings,
                "tags": [],
                "downloads": 0,
            },
        )

    do_HEAD = do_GET

    def _token(self) -> str:
        return (self.headers.get("authorization") or "").removeprefix("Bearer ").strip()

    def _seen(self, kind: str, name: str) -> Repository | None:
        found = self.server.repositories.get((kind, name))
        return found if found and (not found.private or self._token() in (WRITES, READS)) else None

    def _create(self, asked: dict) -> None:
        key = (f"{asked.get('type', 'model')}s", f"{asked['organization']}/{asked['name']}")
        if key in self.server.repositories:
            return self._answer(409, {"error": "it exists"})
        self.server.repositories[key] = Repository(asked.get("visibility") == "private")
        where = "datasets/" if key[0] == "datasets" else ""
        self._answer(200, {"url": f"{self.server.url}/{where}{key[1]}", "name": key[1], "id": key[1]})

    def _validate(self, asked: dict) -> None:
        """As strict as a parser: metadata must be YAML between lines of dashes and name a licence."""
        try:
            head = yaml.safe_load(asked["content"].split("---\n")[1])
            errors = [] if head.get("license") else [{"message": "no license"}]
        except (IndexError, AttributeError, yaml.YAMLError) as error:
            errors = [{"message": str(error)}]
        self._answer(400 if errors else 200, {"errors": errors, "warnings": []})

    def _preupload(self, repository: Repository, asked: dict) -> None:
        files = []
        for f in asked["files"]:
            large = f["path"].endswith((".safetensors", ".parquet"))
            there = repository.files.get(f["path"])
            files.append({"path": f["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": None if there is None else _oid(there, large)})  # fmt: skip
        self._answer(200, {"files": files})

    def _batch(self, asked: dict) -> None:
        objects = [
            {"oid": o["oid"], "size": o["size"], "authenticated": True}
            | (
                {}
                if o["oid"] in self.server.lfs
                else {"actions": {"upload": {"href": f"{self.server.url}/lfs/{o['oid']}", "header": {}}}}
            )
            for o in asked["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, kind: str, name: str, body: bytes) -> None:
        repository, summary = self.server.repositories[kind, name], None
        for line in body.splitlines():
            entry = json.loads(line)
            what, value = entry["key"], entry["value"]
            if what == "header":
                summary = value["summary"]
            elif what == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif what == "lfsFile":
                repository.files[value["path"]] = self.server.lfs[value["oid"]]
            elif what == "deletedFile":
                del repository.files[value["path"]]
        repository.commits.append({"summary": summary})
        where = f"{self.server.url}/{'datasets/' if kind == 'datasets' else ''}{name}/commit/{repository.sha}"
        self._answer(200, {"success": True, "commitOid": repository.sha, "commitUrl": where})

    def _resolve(self, datasets: str | None, name: str, revision: str, path: str) -> None:
        repository = self._seen("datasets" if datasets else "models", name)
        if repository is None:
            return self._missing("RepoNotFound")
        if path not in repository.files:
            return self._missing("EntryNotFound")
        content = repository.files[path]
        headers = {
            "X-Repo-Commit": repository.sha,
            "ETag": f'"{_blob(content)}"',
            "Content-Type": "application/octet-stream",
        }
        self._send(200, content, headers)

    def _missing(self, code: str) -> None:
        self._answer(404, {"error": code}, {"X-Error-Code": code, "X-Error-Message": code})

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, said, headers: dict | None = None) -> None:
        self._send(status, json.dumps(said).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, status: int, content: bytes, headers: dict) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _oid(content: bytes, large: bool) -> str:
    return hashlib.sha256(content).hexdigest() if large else _blob(content)
