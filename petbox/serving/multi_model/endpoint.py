"""SageMaker Runtime's InvokeEndpoint for one multi-model endpoint, as boto3 calls it.

The error codes are those of boto3's service model. The messages follow what users of real
endpoints have reported.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from petbox.errors import ModelError
from petbox.serving.http_client import Address, NoResponse, Response
from petbox.serving.multi_model import routes
from petbox.serving.multi_model.library import UnknownModel
from petbox.serving.multi_model.loaded import (
    NO_RESOURCES,
    LoadedModels,
    LoadFailed,
    StillLoading,
)

ROUTE = re.compile(r"/endpoints/[^/]+/invocations")
TARGET_MODEL = "X-Amzn-SageMaker-Target-Model"
# SageMaker drops all other headers, in both directions.
REQUEST_HEADERS = (
    "Content-Type",
    "Accept",
    "X-Amzn-SageMaker-Custom-Attributes",
    "X-Amzn-SageMaker-Inference-Id",
    "X-Amzn-SageMaker-Session-Id",
    TARGET_MODEL,
)
RESPONSE_HEADERS = (
    "Content-Type",
    "X-Amzn-SageMaker-Custom-Attributes",
    "X-Amzn-SageMaker-New-Session-Id",
    "X-Amzn-SageMaker-Closed-Session-Id",
)
VARIANT = {"x-Amzn-Invoked-Production-Variant": "AllTraffic"}
STATUS = {
    "ValidationError": 400,
    "UnknownOperationException": 404,
    "ModelError": 424,
    "ModelNotReadyException": 429,
}
ATTEMPTS = 5  # at an invocation for which other models are evicted


class _Refused(Exception):
    """The response is an error of the API."""

    def __init__(self, code: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.code, self.document = code, {"Message": message, **more}


@contextlib.contextmanager
def endpoint(port: int, at: Address, models: LoadedModels) -> Iterator[Address]:
    """Serves the endpoint on this machine while the context lasts; returns its address."""

    class Handler(_Handler):
        container, loaded = at, models

    with _Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield Address("127.0.0.1", server.server_address[1])
        finally:
            server.shutdown()
            models.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # an idle connection does not keep the process alive
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is ignored; anything else gets a traceback."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    container: Address
    loaded: LoadedModels
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        try:
            response = self._invoke(self._body())
        except _Refused as error:
            headers = {"Content-Type": "application/json", "x-amzn-ErrorType": error.code}
            self._send(STATUS[error.code], headers, json.dumps(error.document).encode())
            return
        headers = {n: v for n in RESPONSE_HEADERS if (v := response.headers.get(n.lower()))}
        self._send(response.status, headers | VARIANT, response.body)

    def _body(self) -> bytes:
        if "Transfer-Encoding" not in self.headers:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(pieces)

    def _invoke(self, body: bytes) -> Response:
        if not ROUTE.fullmatch(self.path.partition("?")[0]):
            what = f"{self.path}: the only route is /endpoints/NAME/invocations"
            raise _Refused("UnknownOperationException", what)
        target = self.headers.get(TARGET_MODEL)
        if not target:
            what = f"Request {uuid.uuid4()} is missing a target model header; pass TargetModel."
            raise _Refused("ValidationError", what)
        headers = {n: v for n in REQUEST_HEADERS if (v := self.headers.get(n)) is not None}
        try:
            response = self._sent(_decoded(target), headers, body)
        except UnknownModel as error:
            what = f"Failed to download model data ({error}). Please ensure that it is there."
            raise _Refused("ValidationError", what) from error
        except ModelError as error:
            what = f"Failed to extract model data archive ({error})."
            raise _Refused("ValidationError", what) from error
        except StillLoading as error:
            what = f"Model {error} is still loading. Please retry."
            raise _Refused("ModelNotReadyException", what) from error
        except LoadFailed as error:
            response = error.response
        except NoResponse as error:
            raise _model_error(0, str(error)) from error
        if response.status >= 300:
            raise _model_error(response.status, response.body.decode(errors="replace"))
        return response

    def _sent(self, name: str, headers: dict[str, str], body: bytes) -> Response:
        """The container's response; other models are evicted if it lacks memory for this one."""
        for _ in range(ATTEMPTS):
            with self.loaded.using(name) as model_id:
                response = routes.invoke(self.container, model_id, body, headers)
            if response.status != NO_RESOURCES or not self.loaded.make_room(name):
                break
        return response

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """The container has its own log."""


def _decoded(target: str) -> str:
    """UTF-8 if it is that; http.server reads headers as Latin-1."""
    try:
        return target.encode("latin-1").decode()
    except UnicodeDecodeError:
        return target


def _model_error(status: int, text: str) -> _Refused:
    is_client = 400 <= status < 500
    kind = "client" if is_client else "server"
    return _Refused(
        "ModelError",
        f'Received {kind} error ({status}) from primary with message "{text}".',
        ErrorCode="CLIENT_ERROR_FROM_MODEL" if is_client else "INTERNAL_FAILURE_FROM_MODEL",
        OriginalStatusCode=status,
        OriginalMessage=text,
    )
