"""The functions in code/inference.py, as one function of a request."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from petbox_hooks.tensorflow_serving import ModelServer

JSON = "application/json"


class Context(NamedTuple):
    """What a handler gets beside the data, with the names and the order of AWS's container."""

    model_name: str
    model_version: str | None
    method: str
    rest_uri: str
    grpc_port: str | None
    channel: Any
    custom_attributes: str | None
    request_content_type: str
    accept_header: str
    content_length: int


class Reply(NamedTuple):
    status: int
    kind: str
    body: bytes


Handle = Callable[[io.BytesIO, Context], Reply]


def load(code: Path, server: ModelServer) -> Handle:
    """Imports code/inference.py with code/ and code/lib/ on sys.path."""
    sys.path[:0] = [str(folder) for folder in (code / "lib", code) if folder.is_dir()]
    spec = importlib.util.spec_from_file_location("inference", code / "inference.py")
    assert spec and spec.loader
    module = sys.modules["inference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if handler := getattr(module, "handler", None):
        return lambda data, context: _reply(handler(data, context), context)
    before = getattr(module, "input_handler", None)
    after = getattr(module, "output_handler", None)
    if not before and not after:
        raise AttributeError("it defines neither handler nor input_handler or output_handler")
    return _around_the_model(before, after, server)


def _around_the_model(before: Any, after: Any, server: ModelServer) -> Handle:
    def handle(data: io.BytesIO, context: Context) -> Reply:
        processed = before(data, context) if before else data.read()
        if isinstance(processed, (dict, list)):
            processed = json.dumps(processed)
        if isinstance(processed, str):
            processed = processed.encode()
        try:
            response = server.post(context.rest_uri, processed)
        except TimeoutError:
            return failed(504, f"the model server did not respond within {server.seconds} s")
        except ConnectionError:
            return failed(502, "the model server is not running; check GET /ping")
        if after:
            return _reply(after(response, context), context)
        kind = response.headers.get("Content-Type", JSON)
        return Reply(response.status_code, kind, response.content)

    return handle


def _reply(returned: Any, context: Context) -> Reply:
    """From what a handler returns: a body and its type, or a body alone."""
    is_pair = isinstance(returned, tuple) and len(returned) == 2
    body, kind = returned if is_pair else (returned, None)
    kind = kind or context.accept_header
    if not isinstance(kind, str):
        raise TypeError(f"the handler returned the content type {kind!r}, not a string")
    if "*" in kind or "," in kind:  # a handler that returns what the client accepts
        kind = JSON
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(f"the handler returned {type(body).__name__}, not bytes or a string")
    return Reply(200, kind, bytes(body))


def failed(status: int, why: str) -> Reply:
    return Reply(status, JSON, json.dumps({"error": why}).encode())


def describe(error: BaseException, code: Path) -> str:
    """The exception and the line in the user's code that it passed last."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # from its __str__
        text = type(error).__name__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(f"{code}/"):
            return f"{text} ({frame.filename[len(str(code)) + 1 :]}, line {frame.lineno})"
    return text
