"""Serves a converted detector without nginx: the page, /ping, and /invocations for JSON and images.

    python -m petbox.serving.reduced_gateway FOLDER HOST PORT

For a laptop. It has no queue and no limits, no metrics, no log of requests, and none of the other
formats and routes of docs/contract.md, which are the gateway's.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import sys
import threading
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import NoReturn

import numpy as np

from petbox.cli import signals
from petbox.cli.program import say
from petbox.data import labels
from petbox.serving.model_server import responses, rest
from petbox.serving.model_server.engine import EngineOptions
from petbox.serving.model_server.http_server import HttpServer
from petbox.serving.model_server.litert_engine import LiteRT
from petbox.serving.model_server.model import Model, load
from petbox.serving.model_server.rest import Response, VersionStatus
from petbox.serving.model_server.status import StatusError

PAGE = Path(__file__).parent.parent / "container" / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".pbtxt": "text/plain; charset=utf-8",
}
INVOCATIONS = re.compile(r"(/endpoints/[^/]+)?/invocations")
REDUCED = (
    "not available: nginx with Lua is not installed, so this server has only the page, /ping, "
    "and /invocations for JSON and images"
)
DRAIN_SECONDS = 5.0


class OneModel:
    """The only model, as `rest.respond` looks models up."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def find(self, name: str, version: int | None, label: str | None) -> Model:  # noqa: ARG002
        return self.model

    def states(self, name: str, version: int | None) -> list[VersionStatus]:  # noqa: ARG002
        return [VersionStatus(self.model.version, "AVAILABLE")]


class ReducedGateway:
    def __init__(self, folder: Path) -> None:
        self._models = OneModel(load("model", 1, folder, LiteRT.of(folder, EngineOptions())))
        found = (path for path in PAGE.rglob("*") if path.suffix in TYPES)
        self._files = {f"/page/{path.relative_to(PAGE).as_posix()}": path for path in found}
        self._files["/"] = PAGE / "index.html"
        self._files[f"/page/{labels.FILE_NAME}"] = folder / labels.FILE_NAME

    @property
    def engine(self) -> str:
        return self._models.model.engine

    def respond(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        path = url.partition("?")[0]
        if INVOCATIONS.fullmatch(path):
            if method != "POST":
                return _error(405, f"{method}: not allowed here; use POST")
            return self._invoke(headers, body)
        if method not in ("GET", "HEAD"):
            return _error(404, f"{method} {path}: {REDUCED}")
        if path == "/ping":
            return Response(200, {}, b"")
        if path in self._files:
            file = self._files[path]
            kept = {"Content-Type": TYPES[file.suffix], "Cache-Control": "no-cache"}
            return Response(200, kept, file.read_bytes())
        return _error(404, f"{path}: {REDUCED}")

    def _invoke(self, headers: Mapping[str, str], body: bytes) -> Response:
        stated = Message()
        stated["Content-Type"] = headers.get("content-type", "application/octet-stream")
        kind = stated.get_content_type()
        if kind == "application/json":
            return rest.respond(self._models, "POST", "/v1/models/model:predict", headers, body)
        if stated.get_content_maintype() != "image":
            return _error(415, f"Content-Type {kind}: {REDUCED}")
        try:
            return self._of_image(body, "image/jpeg" in headers.get("accept", ""))
        except StatusError as error:
            return _error(error.status, error.message)

    def _of_image(self, image: bytes, is_drawn: bool) -> Response:
        model, inputs = self._models.model, {"inputs": np.array([image], object)}
        if is_drawn:
            (jpeg,) = model.run("draw", inputs)["image_bytes"]
            return Response(200, {"Content-Type": "image/jpeg"}, jpeg)
        outputs = model.run("serving_default", inputs)
        return Response(200, {"Content-Type": "application/json"}, responses.rows(outputs))


def _error(status: int, why: str) -> Response:
    return Response(status, {"Content-Type": "application/json"}, responses.error(why))


def main() -> NoReturn:
    folder, host, port = sys.argv[1:4]
    stop: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()
    with signals.handled(signals.STOP, stop.put):
        try:
            server = HttpServer(int(port), host)
            gateway = ReducedGateway(Path(folder))
            server.server_activate()
        except (StatusError, OSError) as error:
            say(f"serve: {error}")
            os._exit(1)
        say(f"serve: port {port}: {folder} on {gateway.engine}, without nginx")
        threading.Thread(target=server.serve, args=(gateway.respond,), daemon=True).start()
        stop.get()
    server.drain(DRAIN_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main()
