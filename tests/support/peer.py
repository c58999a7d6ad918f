"""An HTTP server that responds as the test says and keeps the requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int  # the client's port: the same one is the same connection


class Response(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed


class Peer(NamedTuple):
    url: str
    requests: list[Request]
    port: int


@contextmanager
def peer(respond: Callable[[Request], Response], *, hangs_up: bool = False) -> Iterator[Peer]:
    """Listens on a free port; `hangs_up` closes after each response without a word."""
    received: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # or the client waits 40 ms for what follows the head

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            received.append(Request(self.path, dict(self.headers), body, self.client_address[1]))
            status, content, headers = respond(received[-1])
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            self.close_connection = hangs_up or self.close_connection

        do_GET = do_HEAD = do_PUT = do_POST  # noqa: N815  # http.server's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Peer(f"http://127.0.0.1:{server.server_port}", received, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def named_detector(received: Request) -> Response:
    """A model as petbox exports it: the signature `detect` gives names."""
    with_names = b'"signature_name":"detect"' in received.body
    return Response(200, golden("answer_detect.json" if with_names else "answer_one.json"))


def classic_detector(received: Request) -> Response:
    """A model of the Object Detection API: no signature but the default."""
    if b"signature_name" in received.body:
        return Response(400, golden("answer_no_signature.json"))
    return Response(200, golden("answer_one.json"))
