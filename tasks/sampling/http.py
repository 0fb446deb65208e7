"""One request to an OpenAI-compatible server: its JSON, a failure that may pass, or one that stays.

May pass: no connection, a time-out, 408, 409, 425, 429, 5xx, a body cut short or no JSON. The others stay.
"""

import contextlib
import email.utils
import hashlib
import json
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
CONNECT = 10.0  # seconds to connect at most, however long an answer may take


class Passing(Exception):
    """A failure that may pass. `wait`: seconds the server asks for; `reached`: whether a server was there at all."""

    def __init__(self, what: str, wait: float | None = None, reached: bool = True):
        super().__init__(what)
        self.wait, self.reached = wait, reached


class Final(Exception):
    """A failure that a further try would only repeat; `down`: of any other request too."""

    def __init__(self, what: str, down: bool = False):
        super().__init__(what)
        self.down = down


def client(key_variable: str, concurrency: int, timeout: float) -> "httpx.Client":
    """A client for `concurrency` requests at once, with the key in $`key_variable` where it is set."""
    import httpx

    key = os.environ.get(key_variable)
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    return httpx.Client(
        timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT), pool=None),
        headers={"Authorization": f"Bearer {key}"} if key else {},
        limits=limits,
        # a server on this machine is not behind $HTTP_PROXY
        mounts={f"all://{host}": httpx.HTTPTransport(limits=limits) for host in ("127.0.0.1", "localhost")},
    )


def ask(
    client: "httpx.Client",
    url: str,
    body: dict | None,
    timeout: float,
    key_variable: str,
    kind: str = "chat completion",
) -> dict:
    """The JSON answer to `body` (None: a GET); the clock runs from the connection to the last byte, `timeout` seconds.

    Raises Passing or Final. `kind`: what an answer is called in messages.
    """
    status, headers, content = _exchange(client, url, body, timeout)
    said = content[:300].decode(errors="replace")
    if status in PASSING:
        raise Passing(f"HTTP {status}: {said}", retry_after(headers.get("retry-after")))
    if status != 200:
        locked_out = status in (401, 403)
        remedy = f"; is ${key_variable} set?" if locked_out else ""
        raise Final(f"HTTP {status}: {said}{remedy}", down=locked_out)
    try:
        answer = json.loads(content)
    except ValueError as error:
        raise Passing(f"the reply is no {kind} ({type(error).__name__}): {said}") from error
    if not isinstance(answer, dict):
        raise Passing(f"the reply is no {kind}: {said}")
    return answer


def _exchange(client: "httpx.Client", url: str, body: dict | None, timeout: float) -> tuple:
    """(status, headers, content) of one request that came to its end."""
    import httpx

    deadline, content = time.monotonic() + timeout, bytearray()
    patience = httpx.Timeout(timeout, connect=min(timeout, CONNECT), pool=None)  # of each read; the deadline is of all
    try:
        with client.stream("GET" if body is None else "POST", url, json=body, timeout=patience) as response:
            for part in response.iter_bytes():
                content += part
                if time.monotonic() > deadline:
                    raise Passing(f"no complete reply within {timeout:g} s")
            return response.status_code, response.headers, bytes(content)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise Passing(f"{type(error).__name__}: {error or f'none within {CONNECT:g} s'}", reached=False) from error
    except httpx.TimeoutException as error:
        raise Passing(f"no reply within {timeout:g} s ({type(error).__name__})") from error
    except (httpx.TransportError, httpx.DecodingError) as error:  # reset, cut short
        raise Passing(f"{type(error).__name__}: {error}") from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise Final(f"{type(error).__name__}: {error}") from error


def pause(key: str, tries: int, asked: float | None, backoff: float, longest: float) -> float:
    """Seconds before the next try of request `key`: what the server asked for, or `backoff` doubled with every try."""
    wait = backoff * 2 ** min(tries - 1, 30) if asked is None else asked
    return min(wait * (1 + _jitter(key, tries)), longest)


def _jitter(key: str, tries: int) -> float:
    """0 to 0.25, so that requests that failed together do not come back together."""
    return int(hashlib.blake2b(f"{key} {tries}".encode(), digest_size=2).hexdigest(), 16) / 65536 / 4


def retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header: a number, or a date."""
    if not value:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None
