"""TensorFlow Serving's REST API as a function: a request in, an answer out, no socket.

Predict and model status are answered; classify, regress and metadata are refused, and say so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from petbox.model_server import answers, json_text, tensors
from petbox.model_server.json_text import MISSING, Object
from petbox.model_server.refusal import Refusal
from petbox.model_server.signature import DEFAULT, Signature

LARGEST_VERSION = 2**63 - 1

API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
NAME = r"/(?P<name>[^/:]+)"
WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
CALL = re.compile(
    rf"/v1/models{NAME}{WHICH}:(?P<verb>classify|regress|predict)", re.IGNORECASE | re.ASCII
)
LOOK = re.compile(
    rf"/v1/models(?:{NAME})?{WHICH}(?P<metadata>/metadata)?", re.IGNORECASE | re.ASCII
)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Model(Protocol):
    """What is asked of a model; `petbox.model_server.model` has the one there is."""

    name: str
    version: int

    def signature(self, name: str) -> Signature: ...
    def run(self, signature: Signature, tensors: tensors.Tensors) -> tensors.Tensors: ...


def respond(
    model: Model,
    method: str,
    path: str,
    _headers: Mapping[str, str],  # none of them counts, not even Content-Type
    body: bytes,
) -> Answer:
    """The answer to one request."""
    if not API.fullmatch(path):
        return not_found()
    try:
        return _json(200, _answer(model, method, path, body))
    except Refusal as refusal:
        return _json(refusal.status, answers.error(refusal.message))


def not_found() -> Answer:
    """libevent's own page, for what is no path of the API; the connection is closed after it."""
    page = (
        b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n"
        b"<H1>Not Found</H1>\n</BODY></HTML>\n"
    )
    return Answer(404, {"Content-Type": "text/html", "Connection": "close"}, page)


def _json(status: int, body: bytes) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, body)


def _answer(model: Model, method: str, path: str, body: bytes) -> bytes:
    if method == "POST" and (call := CALL.fullmatch(path)):
        if call["verb"] == "predict":
            return _predict(model, call, body)
        if call["verb"] in ("classify", "regress"):
            raise Refusal("petbox's model server answers predict requests only", "UNIMPLEMENTED")
    if method == "GET" and (look := LOOK.fullmatch(path)):
        if look["name"] is None:
            raise Refusal("Missing model name in request.")
        if look["metadata"] == "/metadata":
            raise Refusal("petbox's model server has no metadata", "UNIMPLEMENTED")
        return _status(model, look)
    raise Refusal(f"Malformed request: {method} {path}")


def _predict(model: Model, call: re.Match[str], body: bytes) -> bytes:
    document = json_text.parse(body)
    if not isinstance(document, Object):
        raise Refusal(f"JSON Value: {json_text.quoted(document)} Is not object")
    signature_name = _signature_name(document)
    _refuse_other_models(model, call)
    signature = model.signature(signature_name or DEFAULT)
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


def _refuse_other_models(model: Model, call: re.Match[str]) -> None:
    name, version = unquote(call["name"]), _version(call)
    if call["label"]:
        raise Refusal(f"Unrecognized servable version label: {unquote(call['label'])}")
    if name != model.name or version not in (None, model.version):
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise Refusal(f"Servable not found for request: {wanted}", "NOT_FOUND")


def _status(model: Model, look: re.Match[str]) -> bytes:
    name, version = unquote(look["name"]), _version(look)
    if name != model.name or version not in (None, model.version):
        versions = "any versions" if version is None else f"version {version}"
        raise Refusal(f"Could not find {versions} of model {name}", "NOT_FOUND")
    state = {
        "version": str(model.version),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return json.dumps({"model_version_status": [state]}, indent=1).encode() + b"\n"


def _version(match: re.Match[str]) -> int | None:
    if match["version"] is None:
        return None
    version = int(match["version"])
    if version > LARGEST_VERSION:
        raise Refusal("")
    return version
