"""Checks that invalid requests are rejected with JSON that says why, without breaking anything."""

from __future__ import annotations

import contextlib
import http.client
import json

from petbox.serving.conform.contract import Result, fails, holds, holds_if, not_tried
from petbox.serving.conform.payload import HOST, JSON, Payload
from petbox.serving.http_client import Address, Response, request, request_on, send_raw

TIMEOUT = 5.0  # seconds
POST = b"POST /invocations HTTP/1.1\r\n" + HOST


def rejected(response: Response, *statuses: int) -> Result:
    """Holds if it is one of these statuses with an `{"error": …}` body."""
    if response.status not in statuses:
        return fails(f"expected {' or '.join(map(str, statuses))}, got {response}")
    content_type = response.headers.get("content-type", "")
    if response.error() is None or not content_type.startswith(JSON):
        kind = content_type or "no type"
        return fails(f'{response.status}, but {kind} instead of {{"error": …}}: {response}')
    return holds(str(response))


def _get(at: Address, path: str) -> Response:
    return request(at, "GET", path, seconds=TIMEOUT)


def _post(at: Address, body: bytes, content_type: str = JSON) -> Response:
    return request(at, "POST", "/invocations", body, {"Content-Type": content_type}, TIMEOUT)


def unknown_path(at: Address) -> Result:
    return rejected(_get(at, "/no/such/path"), 404)


def wrong_method(at: Address) -> Result:
    for method, path, allowed in (("GET", "/invocations", "POST"), ("POST", "/ping", "GET")):
        response = request(at, method, path, seconds=TIMEOUT)
        result = rejected(response, 405)
        if result.outcome != "holds":
            return fails(f"{method} {path}: {result.detail}")
        if allowed not in response.headers.get("allow", ""):
            return fails(f"{method} {path}: 405 with Allow: {response.headers.get('allow')}")
    return holds("GET /invocations and POST /ping return 405 with the right Allow")


def head(at: Address) -> Result:
    """A body after HEAD would be read as the start of the next response."""
    for path in ("/invocations", "/ping"):
        connection = http.client.HTTPConnection(at.host, at.port, timeout=TIMEOUT)
        with contextlib.closing(connection):
            first = request_on(connection, "HEAD", path)
            second = request_on(connection, "GET", "/ping")
        if second.status != 200:
            return fails(f"after HEAD {path} ({first.status}), GET /ping returned {second}")
        if first.status >= 500:
            return fails(f"HEAD {path}: {first}")
    return holds(f"HEAD {path} returned {first.status}, and the next request its own response")


def unknown_type(at: Address, payload: Payload) -> Result:
    return rejected(_post(at, payload.body, "application/x-no-such-type"), 415)


def no_body(at: Address) -> Result:
    return rejected(_post(at, b""), 400)


def broken_json(at: Address) -> Result:
    return rejected(_post(at, b'{"instances": ['), 400)


def empty_batch(at: Address) -> Result:
    """With batching, TensorFlow Serving never answers `inputs: []` and loses a thread to it."""
    for key in ("inputs", "instances"):
        body = json.dumps({key: []}).encode()
        response = _post(at, body)
        if response.status >= 500:
            return fails(f"{body.decode()}: {response}")
    return holds(f"{body.decode()}: {response}")


def too_large(at: Address) -> Result:
    length = b"Content-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n"
    return rejected(send_raw(at, POST + length, TIMEOUT), 413)


def long_header(at: Address) -> Result:
    header = b"X-Long: " + b"x" * 65536 + b"\r\n\r\n"
    return rejected(send_raw(at, b"GET /ping HTTP/1.1\r\n" + HOST + header, TIMEOUT), 431)


def long_address(at: Address) -> Result:
    line = b"GET /" + b"x" * 65536 + b" HTTP/1.1\r\n"
    return rejected(send_raw(at, line + HOST + b"\r\n", TIMEOUT), 414)


def malformed(at: Address) -> Result:
    for data in (b"GARBAGE\r\n\r\n", POST + b"Content-Length: much\r\n\r\n"):
        result = rejected(send_raw(at, data, TIMEOUT), 400)
        if result.outcome != "holds":
            return fails(f"{data[:40]!r}: {result.detail}")
    return result


def no_banner(at: Address) -> Result:
    server = _get(at, "/no/such/path").headers.get("server")
    if server is None:
        return holds("there is no Server header")
    return holds_if(not any(letter.isdigit() for letter in server), f"Server: {server}")


def bad_attributes(at: Address, payload: Payload) -> Result:
    bad = ("tfs-model-version=999999999", "tfs-model-version=../../x", "tfs-method=sing")
    for attribute in bad:
        result = rejected(_with_attributes(at, payload, attribute), 400, 404)
        if result.outcome != "holds":
            return fails(f"{attribute}: {result.detail}")
    return holds(f"{attribute}: {result.detail}")


def attributes(at: Address, payload: Payload) -> Result:
    if not payload.is_json:
        return not_tried("the given request is not JSON")
    response = _with_attributes(at, payload, " TFS-Method = predict , trace=1")
    if response.status != 200:
        return fails(f"TFS-Method = predict: {response}")
    # An ignored valid method looks like a working one; an ignored invalid method does not.
    result = rejected(_with_attributes(at, payload, "trace=1, TFS-Method = sing"), 400, 404)
    return holds(f"TFS-Method = sing: {result.detail}") if result.outcome == "holds" else result


def _with_attributes(at: Address, payload: Payload, attributes: str) -> Response:
    headers = {"X-Amzn-SageMaker-Custom-Attributes": attributes}
    headers["Content-Type"] = payload.content_type
    return request(at, "POST", "/invocations", payload.body, headers)
