"""Checks of the forms in which a valid request may be sent: headers, encodings, content types."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Mapping

from petbox.cli.sizes import MIB
from petbox.serving.conform.contract import Failed, NotTried, require
from petbox.serving.conform.payload import HOST, Payload
from petbox.serving.http_client import Address, Response, request, send_raw

MAX_PAYLOAD = 25 * MIB  # bytes that SageMaker sends in one request
GZIP = {"Content-Encoding": "gzip"}
JPEG_MAGIC = b"\xff\xd8\xff"


def post(
    at: Address,
    body: bytes | Iterable[bytes],
    content_type: str,
    path: str = "/invocations",
    headers: Mapping[str, str] | None = None,
) -> Response:
    kind = {"Content-Type": content_type} if content_type else {}
    return request(at, "POST", path, body, {**kind, **(headers or {})})


def same(at: Address, payload: Payload, response: Response, sent: str = "") -> str:
    """It must equal the response to the plain request, unless those differ among themselves."""
    require(response.status == 200, f"{sent}{response}")
    plain, again = (_parsed(post(at, payload.body, payload.content_type)) for _ in range(2))
    if _parsed(response) != plain == again:
        raise Failed(f"{sent}{response}: differs from the response to the plain request")
    return f"{sent}{response}"


def _parsed(response: Response) -> object:
    """As JSON, because TensorFlow Serving changes the order of keys between responses."""
    document = response.json()
    return response.body if document is None else document


# Other forms of the plain request, by the line's name: body, content type, path, headers.
Post = tuple[bytes, str] | tuple[bytes, str, str] | tuple[bytes, str, str, dict[str, str]]
PATH = "/invocations"
SAME_RESPONSE: dict[str, Callable[[Payload], Post]] = {
    # JSON may be followed by blanks.
    "large-body": lambda plain: (plain.json().ljust(MAX_PAYLOAD), plain.content_type),
    "gzip": lambda plain: (gzip.compress(plain.json()), plain.content_type, PATH, GZIP),
    "query-string": lambda plain: (plain.body, plain.content_type, f"{PATH}?a=1&b=%2F"),
    "endpoint-route": lambda plain: (plain.body, plain.content_type, f"/endpoints/any-name{PATH}"),
    "no-type": lambda plain: (plain.json(), ""),
    "picture": lambda plain: (plain.known_image(), "image/png"),
}


def sent_as(at: Address, payload: Payload, form: Callable[[Payload], Post]) -> str:
    return same(at, payload, post(at, *form(payload)))


def chunked(at: Address, payload: Payload) -> str:
    half = len(payload.body) // 2
    response = post(at, (payload.body[:half], payload.body[half:]), payload.content_type)
    same(at, payload, response, "in two chunks: ")
    size = f"{len(payload.body):x};name=value\r\n".encode()
    head = f"Content-Type: {payload.content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    line = b"POST /invocations HTTP/1.1\r\n" + HOST
    response = send_raw(at, line + head + size + payload.body + b"\r\n0\r\n\r\n", 60)
    return require(response.status == 200, f"with a chunk extension: {response}")


def conditional(at: Address, payload: Payload) -> str:
    """One such header crashes a worker of nginx 1.22 that answers from a script."""
    for header in ("If-Match", "If-None-Match", "If-Unmodified-Since"):
        response = post(at, payload.body, payload.content_type, headers={header: "*"})
        require(response.status < 500, f"{header}: {response}")
    return f"{header}: {response.status}"


def type_spelling(at: Address, payload: Payload) -> str:
    body = payload.json()
    for content_type in ("application/json; charset=utf-8", "Application/JSON"):
        response = post(at, body, content_type)
        detail = same(at, payload, response, f"{content_type}: ")
    return detail


def execution_parameters(at: Address) -> str:
    response = request(at, "GET", "/execution-parameters", seconds=5)
    keys = {"MaxConcurrentTransforms", "BatchStrategy", "MaxPayloadInMB"}
    document = response.json()
    ok = response.status == 200 and isinstance(document, dict) and keys <= document.keys()
    return require(ok, response)


def image_drawn(at: Address, payload: Payload) -> str:
    response = post(at, payload.known_image(), "image/png", headers={"Accept": "image/jpeg"})
    if response.status == 200 and response.body.startswith(JPEG_MAGIC):
        return f"a JPEG of {len(response.body)} bytes"
    if response.status < 500 and "draw" in (response.error() or ""):
        raise NotTried(f"the model cannot draw: {response}")
    raise Failed(f"{response.headers.get('content-type')}: {response}")


def built_in_form(at: Address, payload: Payload) -> str:
    """The response format of SageMaker's "Object Detection - TensorFlow"."""
    response = post(at, payload.known_image(), "application/x-image")
    document = response.json()
    keys = ("normalized_boxes", "classes", "scores")
    lists = [document.get(key) for key in keys] if isinstance(document, dict) else []
    lengths = {len(one) if isinstance(one, list) else None for one in lists}
    ok = response.status == 200 and len(lengths) == 1 and None not in lengths
    return require(ok, response)
