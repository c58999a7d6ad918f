"""Promises about requests that cannot be answered: JSON that says why, and nothing is lost."""

from __future__ import annotations

import contextlib
import http.client
import json

from petbox.serving.conform.finding import Finding, fails, holds, judged, not_tried
from petbox.serving.conform.http import Address, Answer, ask, ask_on, exchange
from petbox.serving.conform.payload import JSON, Payload

SOON = 5.0  # seconds
HOST = b"Host: model.aws.local:8080\r\n"


def refused(answer: Answer, *statuses: int) -> Finding:
    """Is it one of these statuses, with an `{"error": …}`?"""
    wanted = " or ".join(map(str, statuses))
    if answer.status not in statuses:
        return fails(f"wanted {wanted}, got {answer}")
    if answer.error() is None or not answer.headers.get("content-type", "").startswith(JSON):
        kind = answer.headers.get("content-type", "no type")
        return fails(f'{answer.status}, but {kind} instead of {{"error": …}}: {answer}')
    return holds(str(answer))


def unknown_path(at: Address) -> Finding:
    return refused(ask(at, "GET", "/no/such/path", seconds=SOON), 404)


def wrong_method(at: Address) -> Finding:
    for method, path, right in (("GET", "/invocations", "POST"), ("POST", "/ping", "GET")):
        answer = ask(at, method, path, seconds=SOON)
        found = refused(answer, 405)
        if found.outcome != "holds":
            return fails(f"{method} {path}: {found.seen}")
        if right not in answer.headers.get("allow", ""):
            return fails(f"{method} {path}: 405 with Allow: {answer.headers.get('allow')}")
    return holds("GET /invocations and POST /ping are told the right one")


def head(at: Address) -> Finding:
    """A body after HEAD would be read as the start of the next answer."""
    for path in ("/invocations", "/ping"):
        connection = http.client.HTTPConnection(at.host, at.port, timeout=SOON)
        with contextlib.closing(connection):
            first = ask_on(connection, "HEAD", path)
            second = ask_on(connection, "GET", "/ping")
        if second.status != 200:
            return fails(f"after HEAD {path} ({first.status}), GET /ping was {second}")
        if first.status >= 500:
            return fails(f"HEAD {path}: {first}")
    return holds(f"HEAD {path} was {first.status}, and the next request got its own answer")


def unknown_type(at: Address, payload: Payload) -> Finding:
    headers = {"Content-Type": "application/x-no-such-type"}
    return refused(ask(at, "POST", "/invocations", payload.body, headers, SOON), 415)


def no_body(at: Address) -> Finding:
    headers = {"Content-Type": JSON, "Content-Length": "0"}
    return refused(ask(at, "POST", "/invocations", b"", headers, SOON), 400)


def broken_json(at: Address) -> Finding:
    headers = {"Content-Type": JSON}
    return refused(ask(at, "POST", "/invocations", b'{"instances": [', headers, SOON), 400)


def empty_batch(at: Address) -> Finding:
    """TensorFlow Serving with batching never answers this one, and loses a thread to it."""
    for key in ("inputs", "instances"):
        body = json.dumps({key: []}).encode()
        answer = ask(at, "POST", "/invocations", body, {"Content-Type": JSON}, SOON)
        if answer.status >= 500:
            return fails(f"{body.decode()}: {answer}")
    return holds(f"{body.decode()}: {answer}")


def too_large(at: Address) -> Finding:
    length = b"Content-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n"
    return refused(exchange(at, b"POST /invocations HTTP/1.1\r\n" + HOST + length, SOON), 413)


def long_header(at: Address) -> Finding:
    header = b"X-Long: " + b"x" * 65536 + b"\r\n\r\n"
    return refused(exchange(at, b"GET /ping HTTP/1.1\r\n" + HOST + header, SOON), 431)


def long_address(at: Address) -> Finding:
    line = b"GET /" + b"x" * 65536 + b" HTTP/1.1\r\n"
    return refused(exchange(at, line + HOST + b"\r\n", SOON), 414)


def malformed(at: Address) -> Finding:
    for sent in (b"GARBAGE\r\n\r\n", b"POST /invocations HTTP/1.1\r\n" + HOST + _BAD_LENGTH):
        found = refused(exchange(at, sent, SOON), 400)
        if found.outcome != "holds":
            return fails(f"{sent[:40]!r}: {found.seen}")
    return found


_BAD_LENGTH = b"Content-Length: much\r\n\r\n"


def no_banner(at: Address) -> Finding:
    server = ask(at, "GET", "/no/such/path", seconds=SOON).headers.get("server")
    if server is None:
        return holds("there is no Server header")
    return judged(not any(letter.isdigit() for letter in server), f"Server: {server}")


def execution_parameters(at: Address) -> Finding:
    answer = ask(at, "GET", "/execution-parameters", seconds=SOON)
    keys = {"MaxConcurrentTransforms", "BatchStrategy", "MaxPayloadInMB"}
    said = answer.json()
    return judged(answer.status == 200 and isinstance(said, dict) and keys <= said.keys(), answer)


def bad_attributes(at: Address, payload: Payload) -> Finding:
    bad = ("tfs-model-version=999999999", "tfs-model-version=../../x", "tfs-method=sing")
    for attribute in bad:
        answer = attributed(at, payload, attribute)
        found = refused(answer, 400, 404)
        if found.outcome != "holds":
            return fails(f"{attribute}: {found.seen}")
    return holds(f"{attribute}: {found.seen}")


def attributes(at: Address, payload: Payload) -> Finding:
    if not payload.is_json:
        return not_tried("the request given is no JSON")
    answer = attributed(at, payload, " TFS-Method = predict , trace=1")
    if answer.status != 200:
        return fails(f"TFS-Method = predict: {answer}")
    # A good one that is ignored looks like one that is heeded; a bad one does not.
    found = refused(attributed(at, payload, "trace=1, TFS-Method = sing"), 400, 404)
    return holds(f"TFS-Method = sing: {found.seen}") if found.outcome == "holds" else found


def attributed(at: Address, payload: Payload, attribute: str) -> Answer:
    name = "X-Amzn-SageMaker-Custom-Attributes"
    headers = {"Content-Type": payload.kind, name: attribute}
    return ask(at, "POST", "/invocations", payload.body, headers)
