"""Checks of the forms in which a valid request may be sent: headers, encodings, content types."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping

from petbox.cli.sizes import MIB
from petbox.serving.conform.contract import Result, fails, holds, holds_if, not_tried
from petbox.serving.conform.payload import HOST, Payload
from petbox.serving.http_client import Address, Response, request, send_raw

MAX_PAYLOAD = 25 * MIB  # bytes that SageMaker sends in one request
NOT_JSON = not_tried("the given request is not JSON")
NO_IMAGE = not_tried("with --request the model may not take images")
JPEG_MAGIC = b"\xff\xd8\xff"


def post(
    at: Address,
    body: bytes | Iterable[bytes],
    content_type: str,
    path: str = "/invocations",
    headers: Mapping[str, str] | None = None,
) -> Response:
    return request(at, "POST", path, body, {"Content-Type": content_type, **(headers or {})})


def same(at: Address, payload: Payload, response: Response) -> Result:
    """Holds if it equals the response to the plain request, or if those differ among themselves."""
    if response.status != 200:
        return fails(str(response))
    plain, again = (_parsed(post(at, payload.body, payload.content_type)) for _ in range(2))
    if _parsed(response) != plain == again:
        return fails(f"{response}: differs from the response to the plain request")
    return holds(str(response))


def _parsed(response: Response) -> object:
    """As JSON, because TensorFlow Serving changes the order of keys between responses."""
    document = response.json()
    return response.body if document is None else document


def large_body(at: Address, payload: Payload) -> Result:
    """JSON may be followed by blanks."""
    if not payload.is_json:
        return NOT_JSON
    body = payload.body.ljust(MAX_PAYLOAD)
    return same(at, payload, post(at, body, payload.content_type))


def chunked(at: Address, payload: Payload) -> Result:
    half = len(payload.body) // 2
    response = post(at, (payload.body[:half], payload.body[half:]), payload.content_type)
    result = same(at, payload, response)
    if result.outcome != "holds":
        return fails(f"in two chunks: {result.detail}")
    size = f"{len(payload.body):x};name=value\r\n".encode()
    head = f"Content-Type: {payload.content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    line = b"POST /invocations HTTP/1.1\r\n" + HOST
    response = send_raw(at, line + head + size + payload.body + b"\r\n0\r\n\r\n", 60)
    return holds_if(response.status == 200, f"with a chunk extension: {response}")


def gzipped(at: Address, payload: Payload) -> Result:
    if not payload.is_json:
        return NOT_JSON
    body, headers = gzip.compress(payload.body), {"Content-Encoding": "gzip"}
    return same(at, payload, post(at, body, payload.content_type, headers=headers))


def conditional(at: Address, payload: Payload) -> Result:
    """One such header crashes a worker of nginx 1.22 that answers from a script."""
    for header in ("If-Match", "If-None-Match", "If-Unmodified-Since"):
        response = post(at, payload.body, payload.content_type, headers={header: "*"})
        if response.status >= 500:
            return fails(f"{header}: {response}")
    return holds(f"{header}: {response.status}")


def query_string(at: Address, payload: Payload) -> Result:
    path = "/invocations?a=1&b=%2F"
    return same(at, payload, post(at, payload.body, payload.content_type, path))


def endpoint_route(at: Address, payload: Payload) -> Result:
    path = "/endpoints/any-name/invocations"
    return same(at, payload, post(at, payload.body, payload.content_type, path))


def type_spelling(at: Address, payload: Payload) -> Result:
    if not payload.is_json:
        return NOT_JSON
    for content_type in ("application/json; charset=utf-8", "Application/JSON"):
        response = post(at, payload.body, content_type)
        result = same(at, payload, response)
        if result.outcome != "holds":
            return fails(f"{content_type}: {result.detail}")
    return holds(f"{content_type}: {response}")


def execution_parameters(at: Address) -> Result:
    response = request(at, "GET", "/execution-parameters", seconds=5)
    keys = {"MaxConcurrentTransforms", "BatchStrategy", "MaxPayloadInMB"}
    document = response.json()
    ok = response.status == 200 and isinstance(document, dict) and keys <= document.keys()
    return holds_if(ok, response)


def image(at: Address, payload: Payload) -> Result:
    if payload.image is None:
        return NO_IMAGE
    return same(at, payload, post(at, payload.image, "image/png"))


def image_drawn(at: Address, payload: Payload) -> Result:
    if payload.image is None:
        return NO_IMAGE
    response = post(at, payload.image, "image/png", headers={"Accept": "image/jpeg"})
    if response.status == 200 and response.body.startswith(JPEG_MAGIC):
        return holds(f"a JPEG of {len(response.body)} bytes")
    if response.status < 500 and "draw" in (response.error() or ""):
        return not_tried(f"the model cannot draw: {response}")
    return fails(f"{response.headers.get('content-type')}: {response}")


def built_in_form(at: Address, payload: Payload) -> Result:
    """The response format of SageMaker's "Object Detection - TensorFlow"."""
    if payload.image is None:
        return NO_IMAGE
    response = post(at, payload.image, "application/x-image")
    document = response.json()
    keys = ("normalized_boxes", "classes", "scores")
    lists = [document.get(key) for key in keys] if isinstance(document, dict) else []
    lengths = {len(one) if isinstance(one, list) else None for one in lists}
    ok = response.status == 200 and len(lengths) == 1 and None not in lengths
    return holds_if(ok, response)


def json_lines(at: Address, payload: Payload) -> Result:
    """Three records of the same image, in the three forms that a record may have."""
    if payload.image is None:
        return NO_IMAGE
    text = base64.b64encode(payload.image).decode()
    records = ({"b64": text}, text, {"inputs": {"b64": text}})
    lines = _json_lines(at, "\n".join(map(json.dumps, records)))
    if isinstance(lines, Result):
        return lines
    if len(lines) != len(records) or any("error" in line for line in lines):
        return fails(f"{len(records)} records, {len(lines)} lines: {_kinds(lines)}")
    return holds(f"{len(records)} records, {len(lines)} lines")


def json_lines_bad(at: Address, payload: Payload) -> Result:
    if payload.image is None:
        return NO_IMAGE
    good = json.dumps({"b64": base64.b64encode(payload.image).decode()})
    lines = _json_lines(at, "\n".join((good, '{"b64": "bm8gcGljdHVyZQ=="}', "{broken", good)))
    if isinstance(lines, Result):
        return lines
    bad = ["error" in line for line in lines]
    return holds_if(bad == [False, True, True, False], f"of 4, 2 are bad: {_kinds(lines)}")


def _json_lines(at: Address, body: str) -> list[dict[str, object]] | Result:
    headers = {"Accept": "application/jsonlines"}
    response = post(at, body.encode(), "application/jsonlines", headers=headers)
    if response.status != 200:
        return fails(str(response))
    try:
        lines = [json.loads(line) for line in response.body.splitlines()]
    except ValueError:
        return fails(f"a line of the response is not JSON: {response}")
    if not all(isinstance(line, dict) for line in lines):
        return fails(f"a line of the response is not an object: {response}")
    return lines


def _kinds(lines: list[dict[str, object]]) -> str:
    return ", ".join("error" if "error" in line else "response" for line in lines)
