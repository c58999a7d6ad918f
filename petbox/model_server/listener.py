"""The socket: HTTP/1.1 with kept connections, a thread each, on the loopback interface only.

It knows requests and answers, nothing of models. A client that breaks off or sends nonsense
loses its own connection and no other.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from petbox.model_server.rest import Answer

Respond = Callable[[str, str, Mapping[str, str], bytes], Answer]

LONGEST_LINE = 65536


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


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one piece
    server: Listener

    def answer(self) -> None:
        with self.server:
            try:
                body = self._body()
            except ValueError:
                self.close_connection = True
                self.send_error(400)
                return
            status, headers, content = self._respond(body)
            if self.server.draining or headers.get("Connection") == "close":
                self.close_connection = True
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Date", self.date_time_string())
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            self.wfile.flush()

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815  # http.server's names

    def _respond(self, body: bytes) -> Answer:
        headers = dict(self.headers.items())
        try:
            return self.server.respond(self.command, self.path, headers, body)
        except Exception:  # the client is told that it was us; the log says what
            traceback.print_exc()
            content = b'{\n    "error": "the model server failed; its log says why"\n}'
            return Answer(500, {"Content-Type": "application/json"}, content)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._chunks())
        return self._exactly(int(self.headers.get("Content-Length", "0")))

    def _chunks(self) -> Any:
        while size := int(self.rfile.readline(LONGEST_LINE).split(b";")[0], 16):
            yield self._exactly(size)
            self.rfile.readline(LONGEST_LINE)
        while self.rfile.readline(LONGEST_LINE).strip():
            pass  # trailers

    def _exactly(self, size: int) -> bytes:
        if size < 0:
            raise ValueError("a negative length")
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionError("the client left in the middle of its body")
        return body

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the front logs each request once."""
