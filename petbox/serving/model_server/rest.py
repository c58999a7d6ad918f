"""TensorFlow Serving's REST API as a function from request to response, without sockets.

Checks run in the original's order, since that decides which of two errors is reported.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from petbox.serving.model_server import (
    examples,
    inference,
    json_parser,
    json_writer,
    responses,
    tensors,
)
from petbox.serving.model_server.engine import Tensors
from petbox.serving.model_server.json_parser import MISSING, Object
from petbox.serving.model_server.signature import DEFAULT, Signature
from petbox.serving.model_server.status import StatusError

MAX_VERSION = 2**63 - 1
MAX_DECOMPRESSED = 100 * 2**20

# The URLs that libevent accepts: a path, a query, a fragment, and their characters.
CHARACTER = r"(?:[\w.~!$&'()*+,;=:@/-]|%[0-9a-f]{2})"
URL = re.compile(
    rf"{CHARACTER}*(?:\?(?:{CHARACTER}|\?)*)?(?:#(?:{CHARACTER}|\?)*)?", re.IGNORECASE | re.ASCII
)
HOST = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//[^/?#]*", re.IGNORECASE)

API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
NAME = r"/(?P<name>[^/:]+)"
WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
INFER_URL = re.compile(
    rf"/v1/models{NAME}{WHICH}:(?P<verb>classify|regress|predict)", re.IGNORECASE | re.ASCII
)
STATUS_URL = re.compile(
    rf"/v1/models(?:{NAME})?{WHICH}(?P<metadata>/metadata)?", re.IGNORECASE | re.ASCII
)
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Model(Protocol):
    """What this file needs of a model; model.py implements it."""

    name: str
    version: int
    engine: str

    @property
    def loaded(self) -> object:
        """What holds the memory; no request keeps it for longer than the model."""

    @property
    def signatures(self) -> Mapping[str, Signature]: ...
    def definitions(self) -> dict[str, Any]: ...
    def run(self, signature: str, tensors: Tensors) -> Tensors: ...


class ModelSpec(NamedTuple):
    """The model that a URL names."""

    name: str
    version: int | None
    label: str | None


class VersionStatus(NamedTuple):
    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


class Models(Protocol):
    """What this file needs of all models; served_models.py implements it.

    Both methods raise StatusError for an unknown model or version.
    """

    def find(self, name: str, version: int | None, label: str | None) -> Model: ...
    def states(self, name: str, version: int | None) -> list[VersionStatus]: ...


def respond(
    models: Models, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Response:
    """The response to one request. Header names are in lower case; only two are used."""
    if not URL.fullmatch(path):
        return page(400)
    host = HOST.match(path)
    path = path[host.end() :] if host else path
    if not API.fullmatch(path):
        return page(404)
    if method == "OPTIONS":
        return _options(headers.get("origin", ""))
    try:
        response = _json(200, _respond(models, method, path, _decompressed(headers, body)))
    except StatusError as error:
        text = responses.error(error.message) if error.message else b""
        response = _json(error.status, text)
    if host:  # libevent takes an absolute URL for a proxy request, and closes the connection
        response.headers["Connection"] = "close"
    return response


def with_cors(response: Response) -> Response:
    """With the headers of --rest_api_enable_cors_support, except on libevent's error pages."""
    if "Connection" in response.headers and response.headers["Content-Type"] == "text/html":
        return response
    return response._replace(headers={**response.headers, **CORS})


def page(status: int) -> Response:
    """libevent's own error page; the connection is closed after it."""
    phrase = HTTPStatus(status).phrase
    text = (
        f"<HTML><HEAD>\n<TITLE>{status} {phrase}</TITLE>\n</HEAD><BODY>\n"
        f"<H1>{phrase}</H1>\n</BODY></HTML>\n"
    )
    return Response(status, {"Content-Type": "text/html", "Connection": "close"}, text.encode())


def _options(origin: str) -> Response:
    status = 200 if origin.startswith(("http://", "https://")) else 400
    return Response(status, {"Content-Type": "text/html; charset=ISO-8859-1"}, b"")


def _json(status: int, body: bytes) -> Response:
    return Response(status, {"Content-Type": "application/json"}, body)


def _decompressed(headers: Mapping[str, str], body: bytes) -> bytes:
    """The decompressed body; empty unless it is one gzip member of acceptable size."""
    if "gzip" not in headers.get("content-encoding", ""):
        return body
    decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        text = decompressor.decompress(body, MAX_DECOMPRESSED)
    except zlib.error:
        return b""
    return text if decompressor.eof and not decompressor.unused_data else b""


def _respond(models: Models, method: str, path: str, body: bytes) -> bytes:
    if method == "POST" and (url := INFER_URL.fullmatch(path)):
        if url["verb"] == "predict":
            return _predict(models, _model_spec(url), body)
        if url["verb"] in ("classify", "regress"):  # in lower case only
            return _infer(models, _model_spec(url), url["verb"], body)
    if method == "GET" and (url := STATUS_URL.fullmatch(path)):
        if url["name"] is None:
            raise StatusError("Missing model name in request.")
        spec = _model_spec(url)
        if url["metadata"] == "/metadata":
            model = models.find(*spec)
            return responses.metadata(model.name, model.version, model.definitions())
        return responses.status(models.states(spec.name, spec.version))  # the label is ignored
    raise StatusError(f"Malformed request: {method} {path}")


def _predict(models: Models, spec: ModelSpec, body: bytes) -> bytes:
    document = _document(body)
    name = _signature_name(document) or DEFAULT
    model = models.find(*spec)
    inputs = _inputs_to_predict(model, name)
    rows, columns = document.get("instances"), document.get("inputs")
    if rows is not MISSING and columns is not MISSING:
        why = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise json_writer.wrong_value(document, why)
    if rows is not MISSING:
        given = tensors.from_rows(rows, document, inputs)
        return responses.rows(model.run(name, given))
    if columns is not MISSING:
        given = tensors.from_columns(columns, inputs)
        return responses.columns(model.run(name, given))
    raise StatusError("Missing 'inputs' or 'instances' key")


def _infer(models: Models, spec: ModelSpec, verb: str, body: bytes) -> bytes:
    """Classify or regress, which check the whole body before they look for the model."""
    document = _document(body)
    name = _signature_name(document) or DEFAULT
    given = examples.from_document(document)
    model = models.find(*spec)
    if name not in model.signatures:
        raise StatusError(f"No signature was found with the name: {name}")
    infer = inference.classify if verb == "classify" else inference.regress
    return infer(model.signatures[name], given, partial(model.run, name))


def _document(body: bytes) -> Object:
    document = json_parser.parse(body)
    if not isinstance(document, Object):
        raise json_writer.wrong_value(document, "Is not object")
    return document


def _signature_name(document: Object) -> str:
    name = document.get("signature_name")
    if name is MISSING:
        return ""
    if not isinstance(name, str):
        why = "not formatted correctly. 'signature_name' key must be a string value."
        raise json_writer.wrong_value(document, why)
    return name


def _inputs_to_predict(model: Model, name: str) -> dict[str, str]:
    if name not in model.signatures:
        raise StatusError(f'Serving signature name: "{name}" not found in signature def')
    inputs = model.signatures[name].inputs
    if not inputs:
        raise StatusError(f"Failed to get input map for signature: {name}")
    return inputs


def _model_spec(match: re.Match[str]) -> ModelSpec:
    label = match["label"]
    return ModelSpec(_unquoted(match["name"]), _version(match), label and _unquoted(label))


def _unquoted(text: str) -> str:
    """Percent-decoded; bytes that are not UTF-8 are kept, to be returned unchanged."""
    return unquote(text, errors="surrogateescape")


def _version(match: re.Match[str]) -> int | None:
    if match["version"] is None:
        return None
    digits = match["version"].lstrip("0") or "0"
    if len(digits) > 19 or int(digits) > MAX_VERSION:
        raise StatusError("")  # the original sends no message
    return int(digits)
