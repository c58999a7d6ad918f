"""A container without any network, asked from inside: a program of its image passes bytes on.

Nothing can be published from such a container, so the request goes through `docker exec` to its
loopback. Needs bash or Python in the image; where there is neither, nothing is tried.
"""

from __future__ import annotations

import io
import time
from dataclasses import replace

from petbox.serving.conform.cause import cause
from petbox.serving.conform.finding import Finding, fails, holds, not_tried
from petbox.serving.conform.http import Answer, NoAnswer, ending, received
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.ping import Ping
from petbox.serving.conform.refusals import HOST
from petbox.serving.conform.start import ANSWER_LIMIT
from petbox.serving.conform.trial import Trial
from petbox.serving.docker import Container, running

EVERY = 0.2
ASKED_WITHIN = 10.0
# Stdin goes to the port, what comes back to stdout.
BASH = 'exec 3<>"/dev/tcp/127.0.0.1/$0" && { cat <&3 & cat >&3; wait; }'
PYTHON = """
import socket, sys
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
line.sendall(sys.stdin.buffer.read())
while part := line.recv(65536):
    sys.stdout.buffer.write(part)
"""
WAYS = (("bash", "-c", BASH), ("python3", "-c", PYTHON))


def without_network(trial: Trial) -> Finding:
    """Starts it with no network at all; must become healthy and answer."""
    wanted = replace(trial.wanted, isolated=True)
    with running(wanted) as container:
        attempts: list[Ping] = []
        started = time.monotonic()
        way = None if container.refusal else _way(container)
        while way and not (attempts and attempts[-1].healthy):
            attempts.append(_ping(container, way, started))
            if attempts[-1].at > trial.limit or not container.state().running:
                break
            time.sleep(EVERY)
        if way is None and container.state().running:
            return not_tried("there is neither bash nor python3 in the image to ask it with")
        if not (way and attempts and attempts[-1].healthy):
            return fails(str(cause(container, trial.image, attempts)))
        return _answers(container, way, trial.payload)


def _way(container: Container) -> tuple[str, ...] | None:
    for way in WAYS:
        if container.inside(way[0], "--version") is not None:
            return way
    return None


def _ping(container: Container, way: tuple[str, ...], start: float) -> Ping:
    begun = time.monotonic()
    request = b"GET /ping HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    try:
        answer = _exchange(container, way, request, ASKED_WITHIN)
    except NoAnswer as error:
        return Ping(begun - start, time.monotonic() - begun, said=str(error))
    return Ping(begun - start, 0.0, answer.status, str(answer))  # docker exec takes its own time


def _answers(container: Container, way: tuple[str, ...], payload: Payload) -> Finding:
    """Once healthy, it may need another moment: whether its ping lies is asked elsewhere."""
    head = f"Content-Type: {payload.kind}\r\nContent-Length: {len(payload.body)}\r\n"
    start = b"POST /invocations HTTP/1.1\r\n" + HOST + b"Connection: close\r\n"
    request = start + head.encode() + b"\r\n" + payload.body
    give_up = time.monotonic() + ASKED_WITHIN
    while True:
        try:
            answer = _exchange(container, way, request, ANSWER_LIMIT)
            said = str(answer)
            if answer.status == 200:
                return holds(f"/invocations: {said}")
        except NoAnswer as error:
            said = str(error)
        if time.monotonic() > give_up:
            return fails(f"/ping is 200, and /invocations: {said}")
        time.sleep(EVERY)


def _exchange(container: Container, way: tuple[str, ...], request: bytes, seconds: float) -> Answer:
    start = time.monotonic()
    came = container.through((*way, str(container.wanted.port)), request, seconds)
    if not came:
        raise NoAnswer("nothing came back")
    with ending(seconds):
        return received(io.BytesIO(came), start)
