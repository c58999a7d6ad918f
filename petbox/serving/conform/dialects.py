"""Promises about the forms in which a request may come, all meaning the same."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping

from petbox.serving.conform.finding import Finding, fails, holds, judged, not_tried
from petbox.serving.conform.http import Address, Answer, ask, exchange
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.refusals import HOST

MOST = 25 * 1024 * 1024  # bytes that SageMaker sends in one request
NO_JSON = not_tried("the request given is no JSON")
NO_PICTURE = not_tried("with --request the model need not take pictures")
JPEG_STARTS = b"\xff\xd8\xff"


def post(
    at: Address,
    body: bytes | Iterable[bytes],
    kind: str,
    path: str = "/invocations",
    more: Mapping[str, str] | None = None,
) -> Answer:
    return ask(at, "POST", path, body, {"Content-Type": kind, **(more or {})})


def same(at: Address, payload: Payload, answer: Answer) -> Finding:
    """Is it what the plain request is answered? A model that never says the same twice is not held
    to it."""
    if answer.status != 200:
        return fails(str(answer))
    plain, again = (_meant(post(at, payload.body, payload.kind)) for _ in range(2))
    if _meant(answer) != plain == again:
        return fails(f"{answer}: not the answer to the plain request")
    return holds(str(answer))


def _meant(answer: Answer) -> object:
    """As JSON, for TensorFlow Serving changes the order of keys from one answer to the next."""
    said = answer.json()
    return answer.body if said is None else said


def large_body(at: Address, payload: Payload) -> Finding:
    """Blanks after JSON are still JSON."""
    if not payload.is_json:
        return NO_JSON
    return same(at, payload, post(at, payload.body.ljust(MOST), payload.kind))


def chunked(at: Address, payload: Payload) -> Finding:
    half = len(payload.body) // 2
    answer = post(at, (payload.body[:half], payload.body[half:]), payload.kind)
    found = same(at, payload, answer)
    if found.outcome != "holds":
        return fails(f"in two chunks: {found.seen}")
    size = f"{len(payload.body):x};name=value\r\n".encode()
    head = f"Content-Type: {payload.kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    line = b"POST /invocations HTTP/1.1\r\n" + HOST
    answer = exchange(at, line + head + size + payload.body + b"\r\n0\r\n\r\n", 60)
    return judged(answer.status == 200, f"with a chunk extension: {answer}")


def zipped(at: Address, payload: Payload) -> Finding:
    if not payload.is_json:
        return NO_JSON
    more = {"Content-Encoding": "gzip"}
    return same(at, payload, post(at, gzip.compress(payload.body), payload.kind, more=more))


def conditional(at: Address, payload: Payload) -> Finding:
    """One such header is enough to end a worker of nginx 1.22 that answers from a script."""
    for header in ("If-Match", "If-None-Match", "If-Unmodified-Since"):
        answer = post(at, payload.body, payload.kind, more={header: "*"})
        if answer.status >= 500:
            return fails(f"{header}: {answer}")
    return holds(f"{header}: {answer.status}")


def query_string(at: Address, payload: Payload) -> Finding:
    return same(at, payload, post(at, payload.body, payload.kind, "/invocations?a=1&b=%2F"))


def type_spelling(at: Address, payload: Payload) -> Finding:
    if not payload.is_json:
        return NO_JSON
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        answer = post(at, payload.body, kind)
        found = same(at, payload, answer)
        if found.outcome != "holds":
            return fails(f"{kind}: {found.seen}")
    return holds(f"{kind}: {answer}")


def endpoint_route(at: Address, payload: Payload) -> Finding:
    return same(
        at, payload, post(at, payload.body, payload.kind, "/endpoints/any-name/invocations")
    )


def picture(at: Address, payload: Payload) -> Finding:
    if payload.picture is None:
        return NO_PICTURE
    return same(at, payload, post(at, payload.picture, "image/png"))


def picture_drawn(at: Address, payload: Payload) -> Finding:
    if payload.picture is None:
        return NO_PICTURE
    answer = post(at, payload.picture, "image/png", more={"Accept": "image/jpeg"})
    if answer.status == 200 and answer.body.startswith(JPEG_STARTS):
        return holds(f"a JPEG of {len(answer.body)} bytes")
    if answer.status < 500 and "draw" in (answer.error() or ""):
        return not_tried(f"the model cannot draw: {answer}")
    return fails(f"{answer.headers.get('content-type')}: {answer}")


def built_in_form(at: Address, payload: Payload) -> Finding:
    """As SageMaker's "Object Detection - TensorFlow" answers."""
    if payload.picture is None:
        return NO_PICTURE
    answer = post(at, payload.picture, "application/x-image")
    said = answer.json()
    keys = ("normalized_boxes", "classes", "scores")
    lists = [said.get(key) for key in keys] if isinstance(said, dict) else []
    lengths = {len(one) if isinstance(one, list) else None for one in lists}
    return judged(answer.status == 200 and len(lengths) == 1 and None not in lengths, answer)


def json_lines(at: Address, payload: Payload) -> Finding:
    """Three records; all pictures here are one, so order shows in those that differ in form."""
    if payload.picture is None:
        return NO_PICTURE
    text = base64.b64encode(payload.picture).decode()
    records = ({"b64": text}, text, {"inputs": {"b64": text}})
    found = _lines(at, "\n".join(map(json.dumps, records)))
    if isinstance(found, Finding):
        return found
    if len(found) != len(records) or any("error" in line for line in found):
        return fails(f"{len(records)} records, {len(found)} lines: {_shown(found)}")
    return holds(f"{len(records)} records, {len(found)} lines")


def json_lines_bad(at: Address, payload: Payload) -> Finding:
    if payload.picture is None:
        return NO_PICTURE
    good = json.dumps({"b64": base64.b64encode(payload.picture).decode()})
    found = _lines(at, "\n".join((good, '{"b64": "bm8gcGljdHVyZQ=="}', "{broken", good)))
    if isinstance(found, Finding):
        return found
    bad = ["error" in line for line in found]
    return judged(bad == [False, True, True, False], f"of 4, 2 are bad: {_shown(found)}")


def _lines(at: Address, body: str) -> list[dict[str, object]] | Finding:
    answer = post(
        at, body.encode(), "application/jsonlines", more={"Accept": "application/jsonlines"}
    )
    if answer.status != 200:
        return fails(str(answer))
    lines = answer.body.decode(errors="replace").splitlines()
    try:
        parsed = [json.loads(line) for line in lines]
    except ValueError:
        return fails(f"a line of the answer is no JSON: {answer}")
    if not all(isinstance(line, dict) for line in parsed):
        return fails(f"a line of the answer is no object: {answer}")
    return parsed


def _shown(lines: list[dict[str, object]]) -> str:
    return ", ".join("error" if "error" in line else "answer" for line in lines)
