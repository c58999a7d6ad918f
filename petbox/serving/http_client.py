"""A plain HTTP client that hides nothing: one request, one response or the reason there was none.

`http.client` for proper HTTP, a socket for malformed requests. Never retries, redirects or
decompresses.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

MAX_BODY = 64 << 20  # longer bodies are cut; no check needs more
SHOWN = 160  # characters of a body in a report


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    seconds: float

    def json(self) -> Any:
        """The body parsed as JSON; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def error(self) -> str | None:
        """The message of an `{"error": …}` body; None for any other body."""
        document = self.json()
        message = document.get("error") if isinstance(document, dict) else None
        return message if isinstance(message, str) and message else None

    def __str__(self) -> str:
        """The status, and the error message or the start of the body."""
        text = " ".join((self.error() or self.body[: SHOWN * 4].decode(errors="replace")).split())
        if self.status < 300 and len(text) > SHOWN // 4:
            return f"{self.status}, {len(self.body)} bytes"
        return f"{self.status} {text[:SHOWN]}{'…' * (len(text) > SHOWN)}".strip()


class NoResponse(Exception):
    """Nothing came back, or nothing that is HTTP; the message says why."""


def address(url: str) -> Address:
    """The address in `http://HOST[:PORT]`; ValueError for any other form."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"{url}: write it as http://HOST:PORT")
    return Address(parts.hostname, parts.port or 80)


def request(
    at: Address,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = 60.0,
) -> Response:
    """Sends one request on its own connection."""
    connection = http.client.HTTPConnection(at.host, at.port, timeout=seconds)
    with contextlib.closing(connection):
        return request_on(connection, method, path, body, headers)


def request_on(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Sends one request on an open connection; a body in parts is sent chunked."""
    chunked = body is not None and not isinstance(body, bytes)
    start = time.monotonic()
    with errors_as_no_response(connection.timeout):
        # A server that rejects early may close before the whole body is sent; its response counts.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, dict(headers or {}), encode_chunked=chunked)
        return _read(connection.getresponse(), start)


def send_raw(at: Address, data: bytes, seconds: float = 10.0) -> Response:
    """The first response to exactly these bytes, valid HTTP or not."""
    start = time.monotonic()
    with (
        errors_as_no_response(seconds),
        socket.create_connection((at.host, at.port), timeout=seconds) as connection,
    ):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        return read_response(connection, start)


def read_response(connection: socket.socket, start: float) -> Response:
    """The response on a connection whose request was sent by hand."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return _read(response, start)


def parse_response(data: bytes, start: float) -> Response:
    """The response in bytes that did not come from a socket."""

    class FakeSocket:  # http.client calls nothing else of it
        def makefile(self, _mode: str) -> io.BytesIO:
            return io.BytesIO(data)

    return read_response(cast("socket.socket", FakeSocket()), start)


def _read(response: http.client.HTTPResponse, start: float) -> Response:
    with contextlib.closing(response):
        body = response.read(MAX_BODY)
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, headers, body, time.monotonic() - start)


@contextlib.contextmanager
def errors_as_no_response(seconds: float | None) -> Iterator[None]:
    """Turns every failure to get a response into a `NoResponse`."""
    try:
        yield
    except TimeoutError as error:
        raise NoResponse(f"no response within {seconds:g} s") from error
    except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as error:
        raise NoResponse("the connection was closed without a response") from error
    except http.client.IncompleteRead as error:
        raise NoResponse("the connection was closed in the middle of the response") from error
    except http.client.HTTPException as error:
        raise NoResponse(f"the response is not HTTP ({error})") from error
    except OSError as error:
        raise NoResponse((error.strerror or str(error)).lower()) from error
