"""`r1 audit --serve`: the audit's page with every row of every set behind it, on this machine alone.

It answers GET on two paths, `/` and `/rows`, and only to the address it listens on: a request that names another host is
refused, so that no page elsewhere can read the rows through the reader's browser.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tasks.provenance.artifacts import ArtifactError
from tasks.provenance.audit.books import unreadable
from tasks.provenance.audit.browse import Browser, NoSuchSet
from tasks.reporting.audit_page import as_json

HOST = "127.0.0.1"
MOST = 200  # rows of one page
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'"


def server(page: str, browser: Browser, port: int = 0) -> ThreadingHTTPServer:
    """A server that is ready to `serve_forever`; port 0 takes a free one. OSError where the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlsplit(self.path)
            if self.headers.get("Host", "") not in self.server.own_names:
                self._send(403, {"error": "this server answers to its own address alone"})
            elif url.path == "/":
                self._send(200, page)
            elif url.path == "/rows":
                self._rows({key: values[-1] for key, values in parse_qs(url.query).items()})
            else:
                self._send(404, {"error": f"there is no {url.path}"})

        def _rows(self, ask: dict[str, str]):
            try:
                offset, limit = max(0, int(ask.get("offset", 0))), min(MOST, max(1, int(ask.get("limit", 25))))
                filters = dict(json.loads(ask.get("filters", "{}")))
                self._send(200, browser.page(ask.get("set", ""), ask.get("query", ""), filters, offset, limit))
            except (ArtifactError, *unreadable()) as error:
                self._send(500, {"error": f"a table is damaged: {error}"})
            except (NoSuchSet, TypeError, ValueError) as error:
                self._send(400, {"error": str(error)})

        def _send(self, status: int, body: str | dict):
            text = body if isinstance(body, str) else as_json(body)
            kind = "text/html" if isinstance(body, str) else "application/json"
            sent = text.encode("utf-8", "replace")
            self.send_response(status)
            for name, value in (
                ("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(sent))), ("Cache-Control", "no-store"),
                ("Content-Security-Policy", POLICY), ("X-Content-Type-Options", "nosniff"),
            ):  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *args):
            pass

    made = ThreadingHTTPServer((HOST, port), Handler)
    made.daemon_threads = True
    made.own_names = {f"{name}:{made.server_port}" for name in (HOST, "localhost")}
    return made
