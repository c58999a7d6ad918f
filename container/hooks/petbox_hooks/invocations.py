"""A request from the gateway: its context, the handler's reply, and what is said of errors."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from petbox_hooks import handlers
from petbox_hooks.handlers import JSON, Context, Handle, Reply
from petbox_hooks.watch import Running

# The gateway has validated the attributes, and sends the model server's path.
PATH = re.compile(r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+))?:(?P<method>\w+)")


class Engine(NamedTuple):
    """Where a handler finds the model server."""

    rest: str  # HOST:PORT
    grpc_port: str | None
    channel: Any


class Invocations:
    """Called with each request; at most `threads` are in the user's code at the same time."""

    def __init__(
        self, handle: Handle, engine: Engine, code: Path, threads: int, running: Running
    ) -> None:
        self.handle, self.engine, self.code, self.running = handle, engine, code, running
        self.slots = threading.BoundedSemaphore(threads)

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if method == "GET":  # from /ping
            return Reply(200, JSON, b"{}")
        with self.slots, self.running:
            try:
                return self.handle(io.BytesIO(body), self.context(path, headers, len(body)))
            except BaseException as error:
                with contextlib.suppress(Exception):  # inference.py may have closed stderr
                    traceback.print_exc()
                    sys.stderr.flush()
                return handlers.failed(500, handlers.describe(error, self.code))

    def context(self, path: str, headers: dict[str, str], length: int) -> Context:
        asked = PATH.fullmatch(path)
        assert asked, path
        return Context(
            model_name=asked["name"],
            model_version=asked["version"],
            method=asked["method"],
            rest_uri=f"http://{self.engine.rest}{path}",
            grpc_port=self.engine.grpc_port,
            channel=self.engine.channel,
            custom_attributes=headers.get("x-amzn-sagemaker-custom-attributes"),
            request_content_type=headers.get("content-type") or JSON,
            accept_header=headers.get("accept") or JSON,
            content_length=length,
        )
