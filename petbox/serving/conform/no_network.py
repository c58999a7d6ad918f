"""A container without a network, reached through `docker exec`.

No port of such a container can be published, so bash or Python in the image passes the request on
to its loopback interface. If the image has neither, nothing is tried.
"""

from __future__ import annotations

import time
from dataclasses import replace

from petbox.serving.conform.contract import Result, fails, holds, not_tried
from petbox.serving.conform.diagnosis import diagnose
from petbox.serving.conform.invocations import TIMEOUT
from petbox.serving.conform.payload import HOST, Payload
from petbox.serving.conform.ping import Ping
from petbox.serving.docker import Container, ContainerSpec, Image, running
from petbox.serving.http_client import (
    NoResponse,
    Response,
    errors_as_no_response,
    parse_response,
)

PAUSE = 0.2
PING_TIMEOUT = 10.0
PING = b"GET /ping HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
# Each copies stdin to the port, and what comes back to stdout.
BASH = 'exec 3<>"/dev/tcp/127.0.0.1/$0" && { cat <&3 & cat >&3; wait; }'
PYTHON = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(sys.stdin.buffer.read())
while part := connection.recv(65536):
    sys.stdout.buffer.write(part)
"""
RELAYS = (("bash", "-c", BASH), ("python3", "-c", PYTHON))


def without_network(spec: ContainerSpec, image: Image, payload: Payload, limit: float) -> Result:
    """Starts the image without a network; it must become healthy and respond."""
    with running(replace(spec, no_network=True)) as container:
        attempts: list[Ping] = []
        start = time.monotonic()
        relay = None if container.start_error else _relay(container)
        while relay and not (attempts and attempts[-1].healthy):
            attempts.append(_ping(container, relay, start))
            if attempts[-1].at > limit or not container.state().running:
                break
            time.sleep(PAUSE)
        if relay is None and container.state().running:
            return not_tried("the image has neither bash nor python3 to send a request with")
        if not (relay and attempts and attempts[-1].healthy):
            return fails(str(diagnose(container, image, attempts)))
        return _invoke(container, relay, payload)


def _relay(container: Container) -> tuple[str, ...] | None:
    for relay in RELAYS:
        if container.exec(relay[0], "--version") is not None:
            return relay
    return None


def _ping(container: Container, relay: tuple[str, ...], start: float) -> Ping:
    sent = time.monotonic()
    try:
        response = _send(container, relay, PING, PING_TIMEOUT)
    except NoResponse as error:
        return Ping(sent - start, time.monotonic() - sent, detail=str(error))
    # 0 seconds, because most of the time is docker exec's own.
    return Ping(sent - start, 0.0, response.status, str(response))


def _invoke(container: Container, relay: tuple[str, ...], payload: Payload) -> Result:
    """Repeated for a while: another check tests that /ping is not healthy too early."""
    give_up = time.monotonic() + PING_TIMEOUT
    while True:
        try:
            response = _send(container, relay, payload.raw_request(), TIMEOUT)
            detail = str(response)
            if response.status == 200:
                return holds(f"/invocations: {detail}")
        except NoResponse as error:
            detail = str(error)
        if time.monotonic() > give_up:
            return fails(f"/ping returns 200, and /invocations: {detail}")
        time.sleep(PAUSE)


def _send(container: Container, relay: tuple[str, ...], request: bytes, seconds: float) -> Response:
    start = time.monotonic()
    data = container.pipe((*relay, str(container.spec.port)), request, seconds)
    if not data:
        raise NoResponse("no response")
    with errors_as_no_response(seconds):
        return parse_response(data, start)
