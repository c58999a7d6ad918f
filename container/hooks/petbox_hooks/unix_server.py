"""As much HTTP as the gateway speaks: whole bodies with their length, on kept connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from http.client import responses
from pathlib import Path
from typing import BinaryIO

from petbox_hooks.handlers import Reply

Respond = Callable[[str, str, dict[str, str], bytes], Reply]


def serve(path: Path, respond: Respond) -> None:
    """Accepts connections, each in its thread, on a Unix socket that appears when it is open."""
    with socket.socket(socket.AF_UNIX) as listener:
        hidden = path.with_suffix(".starting")
        hidden.unlink(missing_ok=True)
        listener.bind(str(hidden))
        hidden.chmod(0o666)  # nginx's worker is another user
        listener.listen(1024)
        hidden.rename(path)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_converse, args=(connection, respond), daemon=True).start()


def _converse(connection: socket.socket, respond: Respond) -> None:
    # A connection that nginx closes is one whose response nobody waits for any more.
    with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
        while head := _head(stream):
            method, target, headers = head
            body = stream.read(int(headers.get("content-length", 0)))
            status, kind, content = respond(method, target, headers, body)
            kind = " ".join(kind.split())
            line = f"HTTP/1.1 {status} {responses.get(status, '')}"
            reply = f"{line}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}"
            connection.sendall(f"{reply}\r\n\r\n".encode("latin-1", "replace") + content)


def _head(stream: BinaryIO) -> tuple[str, str, dict[str, str]] | None:
    lines = []
    while (line := stream.readline().decode("latin-1")).strip():
        lines.append(line)
    if not line:  # closed
        return None
    method, target, _ = lines[0].split()
    fields = (one.split(":", 1) for one in lines[1:])
    return method, target, {name.lower(): text.strip() for name, text in fields}
