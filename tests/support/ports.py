"""Ports for servers of tests: each worker has its own, so that no two servers get the same one.

A port that is found free by chance is free for another worker too, until the server listens.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket

FIRST = 10_000
EACH = 1_500  # of eight workers; the program's own search begins above them
MINE = FIRST + EACH * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8)

# Two runs on one machine begin apart.
_given = secrets.randbelow(EACH)


def free_port() -> int:
    while True:
        port = _next(1)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def some_ports() -> str:
    """A range for SAGEMAKER_SAFE_PORT_RANGE."""
    first = _next(50)
    return f"{first}-{first + 49}"


def _next(count: int) -> int:
    global _given
    begin = _given if _given + count <= EACH else 0
    _given = begin + count
    return MINE + begin
