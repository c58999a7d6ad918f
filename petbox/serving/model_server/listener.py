"""The socket: HTTP/1.1 with kept connections, a thread each, on the loopback interface only.

It knows requests and answers, nothing of models. A client that breaks off or sends nonsense
loses its own connection and no other.

The server is the standard library's: it adds nothing to the start or to the memory, and a thread a
connection is what fits a graph that runs outside Python's lock. Heads are read here, since its own
way, as mail is read, takes longer than a small model does. Faster servers (uvicorn, httptools)
would save another tenth of a millisecond.
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

from petbox.serving.model_server.rest import Answer, page

Respond = Callable[[str, str, Mapping[str, str], bytes], Answer]

METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")
REQUEST = re.compile(r"(\S+)[ \t]+(\S+)[ \t]+HTTP/0*1\.([0-9]{1,10})[ \t]*")
HEADER = re.compile(r"([!-9;-~]+):[ \t]*(.*?)[ \t]*")
MOST_HEADERS = 100
LONGEST_LINE = 65536
NUMBER = {10: re.compile(r"\+?[0-9]{1,18}"), 16: re.compile(r"[0-9a-fA-F]{1,15}")}
PIECE = 2**20  # of a body: memory is taken as it comes, not as it is announced


class Listener(ThreadingTCPServer):
    """Binds at once, so that a port in use is found early; listens only when `serve` is called."""

    allow_reuse_address = True
    daemon_threads = True  # an idle connection does not keep the process
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Connection, bind_and_activate=False)
        self.draining = False
        self._in_flight = 0
        self._changed = threading.Condition()
        self.server_bind()

    @property
    def server_port(self) -> int:
        port: int = self.server_address[1]
        return port

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


class _Refused(Exception):
    """A request that ends its connection, for where it ends itself is not sure."""

    def __init__(self, status: int = 400) -> None:
        super().__init__(status)
        self.status = status


class _Head(NamedTuple):
    """What comes before a body."""

    method: str
    address: str
    modern: bool  # at least HTTP/1.1
    headers: dict[str, list[str]]  # by their names in lower case

    def first(self, name: str) -> str:
        return self.headers.get(name, [""])[0].lower()

    def keeps(self) -> bool:
        """Whether the connection is to be kept."""
        wish = self.first("connection")
        return wish != "close" if self.modern else wish == "keep-alive"


class _Connection(StreamRequestHandler):
    disable_nagle_algorithm = True
    server: Listener

    def handle(self) -> None:
        try:
            while (head := self._head()) and self._answered(head):
                pass
        except _Refused as refused:
            self._send(None, page(refused.status))

    def _head(self) -> _Head | None:
        """None where the client has left, or has nothing to say."""
        try:
            line = self._line(414)
        except ConnectionError:
            return None
        if not line:
            return None
        request = REQUEST.fullmatch(line)
        if not request:
            raise _Refused
        headers: dict[str, list[str]] = {}
        for _ in range(MOST_HEADERS + 1):
            line = self._line(431)
            if not line:
                break
            header = HEADER.fullmatch(line)
            if not header:
                raise _Refused
            headers.setdefault(header[1].lower(), []).append(header[2])
        else:
            raise _Refused(431)
        if request[1] not in METHODS:
            raise _Refused(501)
        return _Head(request[1], request[2], int(request[3]) > 0, headers)

    def _answered(self, head: _Head) -> bool:
        """Whether another request may follow."""
        with self.server:
            try:
                answer = self._respond(head, self._body(head))
            except _Refused as refused:
                answer = page(refused.status)
            return self._send(head, answer)

    def _send(self, head: _Head | None, answer: Answer) -> bool:
        """Whether the connection is kept."""
        status, headers, content = answer
        kept = head is not None and head.keeps() and not self.server.draining
        kept = kept and headers.get("Connection") != "close"
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if name != "Connection"]
        if not kept:
            lines.append("Connection: close")
        elif head and not head.modern:
            lines.append("Connection: keep-alive")
        lines += [f"Date: {formatdate(usegmt=True)}", f"Content-Length: {len(content)}", "", ""]
        sent = "\r\n".join(lines).encode("latin-1")
        self.wfile.write(sent if head and head.method == "HEAD" else sent + content)
        return kept

    def _respond(self, head: _Head, body: bytes) -> Answer:
        headers = {name: values[-1] for name, values in head.headers.items()}
        try:
            return self.server.respond(head.method, head.address, headers, body)
        except Exception:  # the client is told that it was us; the log says what
            traceback.print_exc()
            content = b'{\n    "error": "the model server failed; its log says why"\n}'
            return Answer(500, {"Content-Type": "application/json"}, content)

    def _body(self, head: _Head) -> bytes:
        lengths = set(head.headers.get("content-length", []))
        coding = ",".join(head.headers.get("transfer-encoding", [])).lower()
        if (expected := head.first("expect")) not in ("", "100-continue"):
            raise _Refused(417)
        if expected and head.modern and (lengths or coding):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if coding == "chunked":  # it wins over a length
            return b"".join(self._chunks())
        # Where the original guesses, two servers in a row might guess differently: both end here.
        if coding or len(lengths) > 1:
            raise _Refused
        return self._exactly(_number(lengths.pop(), 10)) if lengths else b""

    def _chunks(self) -> Iterator[bytes]:
        while size := _number(self._line().split(";")[0].strip(), 16):
            yield self._exactly(size)
            if self._line():
                raise _Refused
        while self._line():
            pass  # trailers

    def _line(self, too_long: int = 400) -> str:
        line = self.rfile.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise _Refused(too_long)
        if not line.endswith(b"\n"):
            raise ConnectionError("the client left in the middle of its request")
        return line.decode("latin-1").rstrip("\r\n")

    def _exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = self.rfile.read(min(size, PIECE))
            if not piece:
                raise ConnectionError("the client left in the middle of its body")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def _number(text: str, base: int) -> int:
    """Digits and nothing else; Python's own reading is more generous."""
    if not NUMBER[base].fullmatch(text):
        raise _Refused
    return int(text, base)
