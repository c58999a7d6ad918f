"""SIGTERM to a container while requests are in flight.

A request is certainly in flight once half of it has been sent, however fast the model is.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

from petbox.serving.conform.contract import Results, fails, holds, holds_if
from petbox.serving.conform.invocations import TIMEOUT, invoke, succeeded
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.ping import ping
from petbox.serving.docker import STOP_LIMIT, Container, Image
from petbox.serving.http_client import (
    Address,
    NoResponse,
    Response,
    errors_as_no_response,
    read_response,
)

LATE = 10  # requests that begin after SIGTERM, one after another
LATE_PAUSE = 0.2
LATE_TIMEOUT = 10.0
PAUSE = 0.5  # seconds for the halves to arrive, and for the signal
SHELLS = ("/bin/sh", "/bin/bash", "sh", "bash")


def stop(container: Container, image: Image, payload: Payload, in_flight: int = 1) -> Results:
    """Sends SIGTERM with `in_flight` requests half sent, and waits as long as SageMaker does."""
    request = payload.raw_request()
    half = len(request) - len(payload.body) // 2
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(half_sent(container.at, request[:half])) for _ in range(in_flight)
        ]
        time.sleep(PAUSE)
        start = time.monotonic()
        container.signal("TERM")
        time.sleep(PAUSE)
        notice = ping(container.at, start)
        late = [invoke(container.at, payload, LATE_TIMEOUT)]
        responses = list(complete(connections, request[half:]))
        while succeeded(late[-1]) and len(late) < LATE:
            time.sleep(LATE_PAUSE)
            late.append(invoke(container.at, payload, LATE_TIMEOUT))
        code = container.wait(max(0.1, start + STOP_LIMIT - time.monotonic()))
        seconds = time.monotonic() - start
    lost = [response for response in responses if not succeeded(response)]
    detail = f"{in_flight} in flight, {len(lost) or 'none'} lost"
    yield "term-loses-none", fails(f"{detail}: {lost[0]}") if lost else holds(detail)
    detail = f"{len(late)} requests began after SIGTERM, the last: {late[-1]}; /ping: {notice}"
    yield "term-serves-on", holds_if(succeeded(late[-1]) and notice.status == 503, detail)
    if code is None:
        why = _why_ignored(image)
        detail = f"still running {STOP_LIMIT:.0f} s after SIGTERM, when SageMaker kills it{why}"
        yield "term", fails(detail)
        yield "term-exits-0", fails("it did not exit")
    else:
        yield "term", holds_if(seconds <= STOP_LIMIT, f"it exited after {seconds:.1f} s")
        yield "term-exits-0", holds_if(code == 0, f"exit code {code}")


@contextlib.contextmanager
def half_sent(at: Address, data: bytes) -> Iterator[socket.socket | NoResponse]:
    """A connection on which `data`, a request or its first half, has been sent."""
    try:
        with errors_as_no_response(TIMEOUT):
            connection = socket.create_connection((at.host, at.port), timeout=TIMEOUT)
            connection.sendall(data)
    except NoResponse as error:
        yield error
        return
    with connection:
        yield connection


def complete(
    connections: list[socket.socket | NoResponse], data: bytes
) -> Iterator[Response | NoResponse]:
    """Sends the second half on each, then reads the responses."""
    for connection in connections:
        if isinstance(connection, socket.socket):
            with contextlib.suppress(OSError):  # reading shows what went wrong
                connection.sendall(data)
    for connection in connections:
        if isinstance(connection, NoResponse):
            yield connection
            continue
        try:
            with errors_as_no_response(TIMEOUT):
                yield read_response(connection, time.monotonic())
        except NoResponse as error:
            yield error


def _why_ignored(image: Image) -> str:
    """What usually keeps SIGTERM from arriving."""
    if image.entrypoint[:1] and image.entrypoint[0] in SHELLS and "-c" in image.entrypoint:
        return "; its ENTRYPOINT runs in a shell, which does not forward signals: use exec form"
    return "; PID 1 must handle SIGTERM: a script should end in exec, or trap it"
