"""TensorFlow Serving's REST API as a function: a request in, an answer out, no socket.

The order in which a request is checked is the original's, since it decides which of two errors
the client is told of.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from petbox.serving.model_server import answers, examples, inference, json_text, tensors
from petbox.serving.model_server.json_text import MISSING, Object
from petbox.serving.model_server.refusal import Refusal
from petbox.serving.model_server.signature import DEFAULT, Signature

LARGEST_VERSION = 2**63 - 1
LARGEST_UNPACKED = 100 * 2**20

# What libevent lets through as an address: a path, a query, a fragment, each of their characters.
CHARACTER = r"(?:[\w.~!$&'()*+,;=:@/-]|%[0-9a-f]{2})"
ADDRESS = re.compile(
    rf"{CHARACTER}*(?:\?(?:{CHARACTER}|\?)*)?(?:#(?:{CHARACTER}|\?)*)?", re.IGNORECASE | re.ASCII
)
HOST = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//[^/?#]*", re.IGNORECASE)

API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
NAME = r"/(?P<name>[^/:]+)"
WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
CALL = re.compile(
    rf"/v1/models{NAME}{WHICH}:(?P<verb>classify|regress|predict)", re.IGNORECASE | re.ASCII
)
LOOK = re.compile(
    rf"/v1/models(?:{NAME})?{WHICH}(?P<metadata>/metadata)?", re.IGNORECASE | re.ASCII
)
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Model(Protocol):
    """What is asked of a model; `petbox.serving.model_server.model` has the one there is."""

    name: str
    version: int
    signatures: dict[str, Signature]

    def definitions(self) -> dict[str, Any]: ...
    def run(self, signature: Signature, tensors: tensors.Tensors) -> tensors.Tensors: ...


class Asked(NamedTuple):
    """Which model an address names."""

    name: str
    version: int | None
    label: str | None


class VersionStatus(NamedTuple):
    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


class Served(Protocol):
    """What is asked of all models together; `servables.py` has the one there is.

    Both calls refuse what they do not know.
    """

    def find(self, name: str, version: int | None, label: str | None) -> Model: ...
    def states(self, name: str, version: int | None) -> list[VersionStatus]: ...


def respond(
    served: Served, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Answer:
    """The answer to one request. Header names are in lower case; only two of them count."""
    if not ADDRESS.fullmatch(path):
        return page(400)
    host = HOST.match(path)
    path = path[host.end() :] if host else path
    if not API.fullmatch(path):
        return page(404)
    if method == "OPTIONS":
        return _options(headers.get("origin", ""))
    try:
        answer = _json(200, _answer(served, method, path, _unpacked(headers, body)))
    except Refusal as refusal:
        text = answers.error(refusal.message) if refusal.message else b""
        answer = _json(refusal.status, text)
    if host:  # an absolute address, which libevent takes for a proxy's, and closes
        answer.headers["Connection"] = "close"
    return answer


def with_cors(answer: Answer) -> Answer:
    """As --rest_api_enable_cors_support has it; libevent's own pages go without."""
    if "Connection" in answer.headers and answer.headers["Content-Type"] == "text/html":
        return answer
    return answer._replace(headers={**answer.headers, **CORS})


def page(status: int) -> Answer:
    """libevent's own error page; the connection is closed after it."""
    phrase = HTTPStatus(status).phrase
    text = (
        f"<HTML><HEAD>\n<TITLE>{status} {phrase}</TITLE>\n</HEAD><BODY>\n"
        f"<H1>{phrase}</H1>\n</BODY></HTML>\n"
    )
    return Answer(status, {"Content-Type": "text/html", "Connection": "close"}, text.encode())


def _options(origin: str) -> Answer:
    status = 200 if origin.startswith(("http://", "https://")) else 400
    return Answer(status, {"Content-Type": "text/html; charset=ISO-8859-1"}, b"")


def _json(status: int, body: bytes) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, body)


def _unpacked(headers: Mapping[str, str], body: bytes) -> bytes:
    """A gzip body as it was: one member, nothing after it, not too large; else nothing of it."""
    if "gzip" not in headers.get("content-encoding", ""):
        return body
    unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        text = unpacking.decompress(body, LARGEST_UNPACKED)
    except zlib.error:
        return b""
    return text if unpacking.eof and not unpacking.unused_data else b""


def _answer(served: Served, method: str, path: str, body: bytes) -> bytes:
    if method == "POST" and (call := CALL.fullmatch(path)):
        if call["verb"] == "predict":
            return _predict(served, _asked(call), body)
        if call["verb"] in ("classify", "regress"):  # this word in lower case only
            return _infer(served, _asked(call), call["verb"], body)
    if method == "GET" and (look := LOOK.fullmatch(path)):
        if look["name"] is None:
            raise Refusal("Missing model name in request.")
        asked = _asked(look)
        if look["metadata"] == "/metadata":
            model = served.find(*asked)
            return answers.metadata(model.name, model.version, model.definitions())
        return answers.status(served.states(asked.name, asked.version))  # whatever the label
    raise Refusal(f"Malformed request: {method} {path}")


def _predict(served: Served, asked: Asked, body: bytes) -> bytes:
    document = _document(body)
    signature_name = _signature_name(document)
    model = served.find(*asked)
    signature = _signature_to_predict(model, signature_name or DEFAULT)
    rows, columns = document.get("instances"), document.get("inputs")
    if rows is not MISSING and columns is not MISSING:
        raise Refusal(
            f"JSON Value: {json_text.quoted(document)} Not formatted correctly expecting only "
            "one of 'inputs' or 'instances' keys to exist "
        )
    if rows is not MISSING:
        given = tensors.from_rows(rows, document, signature.inputs)
        return answers.rows(model.run(signature, given))
    if columns is not MISSING:
        given = tensors.from_columns(columns, signature.inputs)
        return answers.columns(model.run(signature, given))
    raise Refusal("Missing 'inputs' or 'instances' key")


def _infer(served: Served, asked: Asked, verb: str, body: bytes) -> bytes:
    """Classify or regress: here the whole body is read before the model is looked for."""
    document = _document(body)
    name = _signature_name(document) or DEFAULT
    given = examples.from_document(document)
    model = served.find(*asked)
    if name not in model.signatures:
        raise Refusal(f"No signature was found with the name: {name}")
    act = inference.classify if verb == "classify" else inference.regress
    return act(model.signatures[name], given, model.run)


def _document(body: bytes) -> Object:
    document = json_text.parse(body)
    if not isinstance(document, Object):
        raise Refusal(f"JSON Value: {json_text.quoted(document)} Is not object")
    return document


def _signature_name(document: Object) -> str:
    name = document.get("signature_name")
    if name is MISSING:
        return ""
    if not isinstance(name, str):
        raise Refusal(
            f"JSON Value: {json_text.quoted(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def _signature_to_predict(model: Model, name: str) -> Signature:
    if name not in model.signatures:
        raise Refusal(f'Serving signature name: "{name}" not found in signature def')
    signature = model.signatures[name]
    if not signature.inputs:
        raise Refusal(f"Failed to get input map for signature: {name}")
    return signature


def _asked(match: re.Match[str]) -> Asked:
    label = match["label"]
    return Asked(_plain(match["name"]), _version(match), label and _plain(label))


def _plain(text: str) -> str:
    """Percents decoded; bytes that are not UTF-8 come back in an answer as they were."""
    return unquote(text, errors="surrogateescape")


def _version(match: re.Match[str]) -> int | None:
    if match["version"] is None:
        return None
    digits = match["version"].lstrip("0") or "0"
    if len(digits) > 19 or int(digits) > LARGEST_VERSION:
        raise Refusal("")  # the original says no more than the status
    return int(digits)
