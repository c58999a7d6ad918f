"""A plain HTTP client that hides nothing: one request, one answer, or why there was none.

`http.client` for what is proper HTTP, a socket for what is not. Never retries, follows or unpacks.
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

LARGEST_ANSWER = 64 << 20  # what is longer is not kept; no check needs it
SHOWN = 160  # characters of a body in a report


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    seconds: float

    def json(self) -> Any:
        """What the body says as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def error(self) -> str | None:
        """The sentence of an `{"error": …}`; None where the body is something else."""
        said = self.json()
        sentence = said.get("error") if isinstance(said, dict) else None
        return sentence if isinstance(sentence, str) and sentence else None

    def __str__(self) -> str:
        """The status, and the error's sentence or the start of what came instead."""
        words = " ".join((self.error() or self.body[: SHOWN * 4].decode(errors="replace")).split())
        if self.status < 300 and len(words) > SHOWN // 4:
            return f"{self.status}, {len(self.body)} bytes"
        return f"{self.status} {words[:SHOWN]}{'…' * (len(words) > SHOWN)}".strip()


class NoAnswer(Exception):
    """Nothing came back, or nothing that is HTTP; the message says how it ended."""


def address(url: str) -> Address:
    """Where `http://HOST[:PORT]` leads; ValueError if it is written otherwise."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"{url}: write it as http://HOST:PORT")
    return Address(parts.hostname, parts.port or 80)


def ask(
    at: Address,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = 60.0,
) -> Answer:
    """The answer to one request on a connection of its own."""
    connection = http.client.HTTPConnection(at.host, at.port, timeout=seconds)
    with contextlib.closing(connection):
        return ask_on(connection, method, path, body, headers)


def ask_on(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The same on a connection that is kept; parts of a body are sent as chunks."""
    chunked = body is not None and not isinstance(body, bytes)
    start = time.monotonic()
    with ending(connection.timeout):
        # A server that refuses early may close before all is sent, and its answer still counts.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, dict(headers or {}), encode_chunked=chunked)
        return _answer(connection.getresponse(), start)


def exchange(at: Address, sent: bytes, seconds: float = 10.0) -> Answer:
    """The first answer to these very bytes, proper or not."""
    start = time.monotonic()
    with ending(seconds), socket.create_connection((at.host, at.port), timeout=seconds) as line:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(sent)
        return first_answer(line, start)


def first_answer(line: socket.socket, start: float) -> Answer:
    """What comes back on a connection on which a request was sent by hand."""
    response = http.client.HTTPResponse(line)
    response.begin()
    return _answer(response, start)


def received(came: io.BytesIO, start: float) -> Answer:
    """The answer in bytes that came by another way than a socket."""

    class Line:  # all that http.client asks of a socket
        def makefile(self, _mode: str) -> io.BytesIO:
            return came

    return first_answer(cast("socket.socket", Line()), start)


def _answer(response: http.client.HTTPResponse, start: float) -> Answer:
    with contextlib.closing(response):
        body = response.read(LARGEST_ANSWER)
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body, time.monotonic() - start)


@contextlib.contextmanager
def ending(seconds: float | None) -> Iterator[None]:
    """Turns every way in which an answer can fail to come into a `NoAnswer`."""
    try:
        yield
    except TimeoutError as error:
        raise NoAnswer(f"no answer within {seconds:g} s") from error
    except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as error:
        raise NoAnswer("the connection was closed without an answer") from error
    except http.client.IncompleteRead as error:
        raise NoAnswer("the connection was closed in the middle of the answer") from error
    except http.client.HTTPException as error:
        raise NoAnswer(f"what came back is no HTTP ({error})") from error
    except OSError as error:
        raise NoAnswer((error.strerror or str(error)).lower()) from error
