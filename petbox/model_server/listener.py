"""The socket: HTTP/1.1 with kept connections, a thread each, on the loopback interface only.

It knows requests and answers, nothing of models. A client that breaks off or sends nonsense
loses its own connection and no other.

The server is the standard library's: it adds nothing to the start or to the memory, and a thread a
connection is what fits a graph that runs outside Python's lock. Faster ones (uvicorn, httptools)
would save tenths of a millisecond of a detection that takes twenty.
"""

from __future__ import annotations

import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from petbox.model_server.rest import Answer, page

Respond = Callable[[str, str, Mapping[str, str], bytes], Answer]

LONGEST_LINE = 65536
NUMBER = {10: re.compile(r"\+?[0-9]{1,18}"), 16: re.compile(r"[0-9a-fA-F]{1,15}")}
PIECE = 2**20  # of a body: memory is taken as it comes, not as it is announced


class Listener(ThreadingHTTPServer):
    """Binds at once, so that a port in use is found early; listens only when `serve` is called."""

    daemon_threads = True  # an idle connection does not keep the process
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Connection, bind_and_activate=False)
        self.draining = False
        self._in_flight = 0
        self._changed = threading.Condition()
        self.server_bind()

    def serve(self, respond: Respond) -> None:
        """Answers until `drain` is called from another thread."""
        self.respond = respond
        self.server_activate()
        self.serve_forever(poll_interval=0.1)

    def drain(self, seconds: float) -> bool:
        """Takes no more connections; whether all requests in flight were answered in time."""
        self.draining = True
        self.shutdown()
        self.server_close()
        with self._changed:
            return self._changed.wait_for(lambda: not self._in_flight, seconds)

    def __enter__(self) -> Listener:
        """A request is in flight from its headers to the last byte of its answer."""
        with self._changed:
            self._in_flight += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left early is its own affair; anything else is ours, with its traceback."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Malformed(ValueError):
    """A body that cannot be told from what follows it."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one piece
    server: Listener

    def answer(self) -> None:
        with self.server:
            expected = self.headers.get("Expect", "100-continue").lower()
            if self.request_version == "HTTP/0.9" or self.headers.defects:
                self.send_error(400)
            elif expected != "100-continue":
                self.send_error(417)
            else:
                try:
                    body = self._body()
                except _Malformed:
                    self.send_error(400)
                else:
                    self._send(self._respond(body))

    # http.server's names; any other method is a 501
    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer  # noqa: N815

    def handle_expect_100(self) -> bool:
        if self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding"):
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()  # the client waits for it
        return True

    def send_error(self, code: int, *_: Any) -> None:  # Python's sentences are not wanted
        """libevent's page instead of Python's; a version of HTTP not known is a 400 there."""
        self.request_version = "HTTP/1.1"  # 0.9 would get no headers
        self._send(page(400 if code == 505 else code))

    def _send(self, answer: Answer) -> None:
        status, headers, content = answer
        if self.server.draining or headers.get("Connection") == "close":
            self.close_connection = True
        self.send_response_only(status)
        if self.close_connection:
            headers = {**headers, "Connection": "close"}
        elif self.request_version == "HTTP/1.0":
            headers = {**headers, "Connection": "keep-alive"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Date", self.date_time_string())
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def _respond(self, body: bytes) -> Answer:
        headers = {name.lower(): value for name, value in self.headers.items()}
        address = self.requestline.split()[1]  # `path` has lost what begins with two slashes
        try:
            return self.server.respond(self.command, address, headers, body)
        except Exception:  # the client is told that it was us; the log says what
            traceback.print_exc()
            content = b'{\n    "error": "the model server failed; its log says why"\n}'
            return Answer(500, {"Content-Type": "application/json"}, content)

    def _body(self) -> bytes:
        lengths = set(self.headers.get_all("Content-Length", []))
        coding = ",".join(self.headers.get_all("Transfer-Encoding", [])).strip().lower()
        if coding == "chunked":  # it wins over a length
            return b"".join(self._chunks())
        # Where the original guesses, two servers in a row might guess differently: both end here.
        if coding or len(lengths) > 1:
            raise _Malformed
        return self._exactly(_number(lengths.pop(), 10)) if lengths else b""

    def _chunks(self) -> Iterator[bytes]:
        while size := _number(self._line().split(";")[0], 16):
            yield self._exactly(size)
            if self._line():
                raise _Malformed
        while self._line():
            pass  # trailers

    def _line(self) -> str:
        line = self.rfile.readline(LONGEST_LINE)
        if not line:
            raise ConnectionError("the client left in the middle of its body")
        if not line.endswith(b"\n"):
            raise _Malformed
        return line.decode("latin-1").strip()

    def _exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = self.rfile.read(min(size, PIECE))
            if not piece:
                raise ConnectionError("the client left in the middle of its body")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the front logs each request once."""


def _number(text: str, base: int) -> int:
    """Digits and nothing else; Python's own reading is more generous."""
    if not NUMBER[base].fullmatch(text):
        raise _Malformed
    return int(text, base)
