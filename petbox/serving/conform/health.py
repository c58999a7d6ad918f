"""What is demanded and promised of /ping while the container is up."""

from __future__ import annotations

import contextlib
import socket
import time

from petbox.serving.conform.finding import Finding, fails, holds, judged
from petbox.serving.conform.http import Address, ask
from petbox.serving.conform.load import load
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.ping import LIMIT, Ping, ping

CLIENTS = 4
ATTEMPTS = 25
PAUSE = 0.05
PROMISED = 0.5  # seconds
SILENT = 300  # connections


def under_load(at: Address, payload: Payload) -> tuple[Finding, Finding]:
    """The demand of 2 s and the promise of half a second, from the same attempts."""
    with load(at, payload, CLIENTS):
        attempts: list[Ping] = []
        while len(attempts) < ATTEMPTS and all(attempt.healthy for attempt in attempts):
            attempts.append(_attempt(at))
    worst = max(attempts, key=lambda attempt: attempt.seconds)
    bad = attempts[-1] if not attempts[-1].healthy else None
    seen = (
        f"the slowest of {ATTEMPTS} took {worst.seconds * 1000:.0f} ms, {CLIENTS} clients at work"
    )
    if bad is not None:
        said = fails(f"under load of {CLIENTS} clients /ping was: {bad} ({bad.seconds:.1f} s)")
        return said, said
    return holds(seen), judged(worst.seconds <= PROMISED, seen)


def _attempt(at: Address) -> Ping:
    time.sleep(PAUSE)
    return ping(at, time.monotonic(), LIMIT)


def empty(at: Address) -> Finding:
    answer = ask(at, "GET", "/ping", seconds=LIMIT)
    return judged(answer.status == 200 and not answer.body, f"{len(answer.body)} bytes: {answer}")


def beside_silent_connections(at: Address) -> Finding:
    """Clients that connect and say nothing, as a port scanner or a broken proxy does."""
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(SILENT):
                stack.enter_context(socket.create_connection((at.host, at.port), timeout=LIMIT))
        except OSError as error:
            return fails(f"the connection was refused: {error}")
        attempt = ping(at, time.monotonic())
    return judged(attempt.healthy, f"/ping beside {SILENT} of them: {attempt}")
