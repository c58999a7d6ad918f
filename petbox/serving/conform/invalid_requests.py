"""Checks that invalid requests are rejected with JSON that says why, without breaking anything."""

from __future__ import annotations

import contextlib
import http.client
import json

from petbox.serving.conform.contract import Failed, require
from petbox.serving.conform.payload import HOST, JSON, Payload
from petbox.serving.http_client import Address, Response, request, request_on, send_raw

TIMEOUT = 5.0  # seconds
POST = b"POST /invocations HTTP/1.1\r\n" + HOST
POST_JSON = POST + b"Content-Type: application/json\r\nContent-Length: "

# By the line's name: what is sent, and the status of the response.
REJECTED = {
    "unknown-path": (b"GET /no/such/path HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "no-body": (POST_JSON + b"0\r\n\r\n", 400),
    "broken-json": (POST_JSON + b'15\r\n\r\n{"instances": [', 400),
    "too-large": (POST_JSON + b"1073741824\r\n\r\n", 413),
    "long-header": (b"GET /ping HTTP/1.1\r\n" + HOST + b"X-Long: %065536d\r\n\r\n" % 0, 431),
    "long-address": (b"GET /%065536d HTTP/1.1\r\n" % 0 + HOST + b"\r\n", 414),
}


def rejected(response: Response, *statuses: int, sent: str = "") -> str:
    """The response to what was `sent`: one of these statuses with an `{"error": …}` body."""
    if response.status not in statuses:
        raise Failed(f"{sent}expected {' or '.join(map(str, statuses))}, got {response}")
    content_type = response.headers.get("content-type", "")
    if response.error() is None or not content_type.startswith(JSON):
        kind = content_type or "no type"
        raise Failed(f'{sent}{response.status}, but {kind} instead of {{"error": …}}: {response}')
    return f"{sent}{response}"


def rejects(at: Address, data: bytes, status: int) -> str:
    return rejected(send_raw(at, data, TIMEOUT), status)


def _post(at: Address, body: bytes, content_type: str = JSON) -> Response:
    return request(at, "POST", "/invocations", body, {"Content-Type": content_type}, TIMEOUT)


def wrong_method(at: Address) -> str:
    for method, path, allowed in (("GET", "/invocations", "POST"), ("POST", "/ping", "GET")):
        response = request(at, method, path, seconds=TIMEOUT)
        rejected(response, 405, sent=f"{method} {path}: ")
        allow = response.headers.get("allow", "")
        require(allowed in allow, f"{method} {path}: 405 with Allow: {allow or None}")
    return "GET /invocations and POST /ping return 405 with the right Allow"


def head(at: Address) -> str:
    """A body after HEAD would be read as the start of the next response."""
    for path in ("/invocations", "/ping"):
        connection = http.client.HTTPConnection(at.host, at.port, timeout=TIMEOUT)
        with contextlib.closing(connection):
            first = request_on(connection, "HEAD", path)
            second = request_on(connection, "GET", "/ping")
        after = f"after HEAD {path} ({first.status}), GET /ping returned {second}"
        require(second.status == 200, after)
        require(first.status < 500, f"HEAD {path}: {first}")
    return f"HEAD {path} returned {first.status}, and the next request its own response"


def unknown_type(at: Address, payload: Payload) -> str:
    return rejected(_post(at, payload.body, "application/x-no-such-type"), 415)


def empty_batch(at: Address) -> str:
    """With batching, TensorFlow Serving never answers `inputs: []` and loses a thread to it."""
    for key in ("inputs", "instances"):
        body = json.dumps({key: []}).encode()
        response = _post(at, body)
        detail = require(response.status < 500, f"{body.decode()}: {response}")
    return detail


def malformed(at: Address) -> str:
    for data in (b"GARBAGE\r\n\r\n", POST + b"Content-Length: much\r\n\r\n"):
        detail = rejected(send_raw(at, data, TIMEOUT), 400, sent=f"{data[:40]!r}: ")
    return detail


def no_banner(at: Address) -> str:
    server = request(at, "GET", "/no/such/path", seconds=TIMEOUT).headers.get("server")
    if server is None:
        return "there is no Server header"
    return require(not any(letter.isdigit() for letter in server), f"Server: {server}")


def bad_attributes(at: Address, payload: Payload) -> str:
    bad = ("tfs-model-version=999999999", "tfs-model-version=../../x", "tfs-method=sing")
    for attribute in bad:
        response = _with_attributes(at, payload, attribute)
        detail = rejected(response, 400, 404, sent=f"{attribute}: ")
    return detail


def attributes(at: Address, payload: Payload) -> str:
    payload.json()  # not tried if it is not
    response = _with_attributes(at, payload, " TFS-Method = predict , trace=1")
    require(response.status == 200, f"TFS-Method = predict: {response}")
    # An ignored valid method looks like a working one; an ignored invalid method does not.
    response = _with_attributes(at, payload, "trace=1, TFS-Method = sing")
    return rejected(response, 400, 404, sent="TFS-Method = sing: ")


def _with_attributes(at: Address, payload: Payload, attributes: str) -> Response:
    headers = {"X-Amzn-SageMaker-Custom-Attributes": attributes}
    headers["Content-Type"] = payload.content_type
    return request(at, "POST", "/invocations", payload.body, headers)
