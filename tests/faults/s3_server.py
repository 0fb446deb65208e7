"""An S3 server on this machine (moto's) that can be told to fail in the middle of an upload of many objects."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

BUCKET = "r1-store"


class S3:
    """Moto's S3 behind a WSGI layer that counts uploads and, when told, answers 503 instead of taking them."""

    def __init__(self):
        import boto3
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.env = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",  # else each refused upload takes botocore's own five attempts
        }
        self.stored: Counter[str] = Counter()  # path -> times it was taken
        self.refused = 0
        self._left: int | None = None
        self._until = float("inf")
        self._lock = threading.Lock()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=self.url, **keys).create_bucket(Bucket=BUCKET)

    def fail_after(self, uploads: int, seconds: float = float("inf")) -> None:
        """Take this many more objects, then none for `seconds` after the first refusal."""
        with self._lock:
            self._left, self._until, self._seconds = uploads, float("inf"), seconds

    def heal(self) -> None:
        with self._lock:
            self._left = None

    def close(self) -> None:
        self._server.shutdown()

    def _answer(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] == "PUT" and path.strip("/").count("/"):  # an object, not the bucket
            if not self._takes():
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start_response("503 Slow Down", [("Content-Length", "0")])
                return [b""]
            with self._lock:
                self.stored[path] += 1
        return self._moto(environ, start_response)

    def _takes(self) -> bool:
        with self._lock:
            if self._left is None or time.monotonic() > self._until:
                return True
            if self._left > 0:
                self._left -= 1
                return True
            self.refused += 1
            self._until = min(self._until, time.monotonic() + self._seconds)
            return False
