"""HTTP/1.1 with keep-alive, by default on the loopback interface, one thread per connection.

A client that disconnects early or sends malformed requests loses only its own connection.

It is built on the standard library's server, which costs no start time or memory; a thread per
connection fits a graph that runs outside Python's lock. The request head is parsed here, because
the library's parser (for e-mail) takes longer than a small model. Faster servers (uvicorn,
httptools) would save another 0.1 ms.
"""

from __future__ import annotations

import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from http import HTTPStatus
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, NamedTuple

from petbox.serving.model_server.rest import Response, page

Respond = Callable[[str, str, Mapping[str, str], bytes], Response]

METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")
REQUEST = re.compile(r"(\S+)[ \t]+(\S+)[ \t]+HTTP/0*1\.([0-9]{1,10})[ \t]*")
HEADER = re.compile(r"([!-9;-~]+):[ \t]*(.*?)[ \t]*")
MAX_HEADERS = 100
MAX_LINE = 65536
NUMBER = {10: re.compile(r"\+?[0-9]{1,18}"), 16: re.compile(r"[0-9a-fA-F]{1,15}")}
PIECE = 2**20  # bytes of a body read at once: its announced length is not trusted


class HttpServer(ThreadingTCPServer):
    """Binds at once, so that a port in use fails early; the port opens with `server_activate`."""

    allow_reuse_address = True
    daemon_threads = True  # an idle connection does not keep the process alive
    request_queue_size = 128

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), _Connection, bind_and_activate=False)
        self.draining = False
        self._in_flight = 0
        self._changed = threading.Condition()
        self.server_bind()

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port

    def serve(self, respond: Respond) -> None:
        """Handles requests until `drain` is called from another thread."""
        self.respond = respond
        self.serve_forever(poll_interval=0.1)

    def drain(self, seconds: float) -> bool:
        """Accepts no more connections; True if all requests in flight completed in time."""
        self.draining = True
        self.shutdown()
        self.server_close()
        with self._changed:
            return self._changed.wait_for(lambda: not self._in_flight, seconds)

    def __enter__(self) -> HttpServer:
        """A request is in flight from its headers to the last byte of its response."""
        with self._changed:
            self._in_flight += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that disconnected is ignored; anything else gets a traceback."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Rejected(Exception):
    """A request after which the connection is closed, since its end is not certain."""

    def __init__(self, status: int = 400) -> None:
        super().__init__(status)
        self.status = status


class _Head(NamedTuple):
    method: str
    url: str
    is_http11: bool  # at least HTTP/1.1
    headers: dict[str, list[str]]  # names in lower case

    def first(self, name: str) -> str:
        return self.headers.get(name, [""])[0].lower()

    def keep_alive(self) -> bool:
        connection = self.first("connection")
        return connection != "close" if self.is_http11 else connection == "keep-alive"


class _Connection(StreamRequestHandler):
    disable_nagle_algorithm = True
    server: HttpServer

    def handle(self) -> None:
        try:
            while (head := self._head()) and self._handle_one(head):
                pass
        except _Rejected as error:
            self._send(None, page(error.status))

    def _head(self) -> _Head | None:
        """None if the client has disconnected or sent nothing."""
        try:
            line = self._line(414)
        except ConnectionError:
            return None
        if not line:
            return None
        request = REQUEST.fullmatch(line)
        if not request:
            raise _Rejected
        headers: dict[str, list[str]] = {}
        for _ in range(MAX_HEADERS + 1):
            line = self._line(431)
            if not line:
                break
            header = HEADER.fullmatch(line)
            if not header:
                raise _Rejected
            headers.setdefault(header[1].lower(), []).append(header[2])
        else:
            raise _Rejected(431)
        if request[1] not in METHODS:
            raise _Rejected(501)
        return _Head(request[1], request[2], int(request[3]) > 0, headers)

    def _handle_one(self, head: _Head) -> bool:
        """True if another request may follow."""
        with self.server:
            try:
                response = self._respond(head, self._body(head))
            except _Rejected as error:
                response = page(error.status)
            return self._send(head, response)

    def _send(self, head: _Head | None, response: Response) -> bool:
        """True if the connection is kept."""
        status, headers, content = response
        kept = head is not None and head.keep_alive() and not self.server.draining
        kept = kept and headers.get("Connection") != "close"
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if name != "Connection"]
        if not kept:
            lines.append("Connection: close")
        elif head and not head.is_http11:
            lines.append("Connection: keep-alive")
        lines += [f"Date: {formatdate(usegmt=True)}", f"Content-Length: {len(content)}", "", ""]
        head_bytes = "\r\n".join(lines).encode("latin-1")
        is_head = head is not None and head.method == "HEAD"
        self.wfile.write(head_bytes if is_head else head_bytes + content)
        return kept

    def _respond(self, head: _Head, body: bytes) -> Response:
        headers = {name: values[-1] for name, values in head.headers.items()}
        try:
            return self.server.respond(head.method, head.url, headers, body)
        except Exception:  # reported as our failure; the traceback is in the log
            traceback.print_exc()
            content = b'{\n    "error": "the model server failed; see its log"\n}'
            return Response(500, {"Content-Type": "application/json"}, content)

    def _body(self, head: _Head) -> bytes:
        lengths = set(head.headers.get("content-length", []))
        coding = ",".join(head.headers.get("transfer-encoding", [])).lower()
        if (expected := head.first("expect")) not in ("", "100-continue"):
            raise _Rejected(417)
        if expected and head.is_http11 and (lengths or coding):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if coding == "chunked":  # takes precedence over a length
            return b"".join(self._chunks())
        # The original guesses here, but two servers in a row might guess differently.
        if coding or len(lengths) > 1:
            raise _Rejected
        return self._exactly(_number(lengths.pop(), 10)) if lengths else b""

    def _chunks(self) -> Iterator[bytes]:
        while size := _number(self._line().split(";")[0].strip(), 16):
            yield self._exactly(size)
            if self._line():
                raise _Rejected
        while self._line():
            pass  # trailers

    def _line(self, too_long: int = 400) -> str:
        line = self.rfile.readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            raise _Rejected(too_long)
        if not line.endswith(b"\n"):
            raise ConnectionError("the client disconnected in the middle of its request")
        return line.decode("latin-1").rstrip("\r\n")

    def _exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = self.rfile.read(min(size, PIECE))
            if not piece:
                raise ConnectionError("the client disconnected in the middle of its body")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def _number(text: str, base: int) -> int:
    """Digits only; Python's int() accepts more."""
    if not NUMBER[base].fullmatch(text):
        raise _Rejected
    return int(text, base)
