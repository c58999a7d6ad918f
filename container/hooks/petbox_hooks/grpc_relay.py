"""gRPC to the model server, on a socket, since a port of its own would be on all addresses."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import threading
from typing import Any


def channel(path: str) -> Any:
    """To the model server's socket; None if grpcio is not installed."""
    if importlib.util.find_spec("grpc") is None:
        return None
    import grpc

    return grpc.insecure_channel(f"unix:{path}")


def listen(port: int, path: str) -> None:
    """Connects the port of the loopback to the socket, for handlers that connect to a port."""
    listener = socket.create_server(("127.0.0.1", port))
    threading.Thread(target=_accept, args=(listener, path), daemon=True).start()


def _accept(listener: socket.socket, path: str) -> None:
    while True:
        client, _ = listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(path)
        except OSError:  # it is not running, and never without gRPC
            client.close()
            continue
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
