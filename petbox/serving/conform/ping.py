"""GET /ping as SageMaker sends it: waiting for the first 200, and checks of a running server."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from petbox.serving.conform.contract import Failed, Results, fails, holds, holds_if, require
from petbox.serving.conform.invocations import load
from petbox.serving.conform.payload import Payload
from petbox.serving.docker import Container
from petbox.serving.http_client import Address, NoResponse, request

TIMEOUT = 2.0  # seconds for one ping
SERVERLESS_START_LIMIT = 180.0
PERIOD = 5.0  # seconds between SageMaker's pings, as seen on real endpoints
LONG_TIMEOUT = 10.0  # how long to wait for a late response, to tell slow from hanging
START_PERIOD = 0.1  # short, to catch a ping that is wrong only for a moment
REPORT_PERIOD = 15.0
CLIENTS = 4
PINGS_UNDER_LOAD = 25
GUARANTEED_SECONDS = 0.5
IDLE_CONNECTIONS = 300


@dataclass(frozen=True)
class Ping:
    """One attempt, `at` seconds after the start."""

    at: float
    seconds: float
    status: int | None = None  # None: no response
    detail: str = ""  # the status and body, or why there was no response

    @property
    def healthy(self) -> bool:
        """SageMaker's rule: 200, in time."""
        return self.status == 200 and self.seconds < TIMEOUT

    def __str__(self) -> str:
        late = self.status is not None and self.seconds >= TIMEOUT
        return f"{self.detail} after {self.seconds:.1f} s" if late else self.detail


def ping(at: Address, start: float, timeout: float = TIMEOUT) -> Ping:
    """One attempt; `start` is when the container was started, by the monotonic clock."""
    sent = time.monotonic()
    try:
        response = request(at, "GET", "/ping", seconds=timeout)
    except NoResponse as error:
        return Ping(sent - start, time.monotonic() - sent, detail=str(error))
    return Ping(sent - start, response.seconds, response.status, str(response))


def pings(at: Address, start: float, period: float, timeout: float = TIMEOUT) -> Iterator[Ping]:
    """Endless attempts, `period` seconds apart or as soon as the previous one is over."""
    while True:
        attempt = ping(at, start, timeout)
        yield attempt
        time.sleep(max(0.0, period - attempt.seconds))


def wait_until_healthy(
    container: Container,
    start: float,
    limit: float,
    report: Callable[[Ping], object],
    stopped: Callable[[], bool] = lambda: False,
) -> list[Ping]:
    """All attempts until one is healthy, `stopped` is true, the container exits, or it is too late.

    It is too late after `limit` seconds.

    `report` gets the latest attempt every 15 seconds.
    """
    attempts: list[Ping] = []
    next_report = REPORT_PERIOD
    if container.start_error:
        return attempts
    for attempt in pings(container.at, start, START_PERIOD, LONG_TIMEOUT):
        attempts.append(attempt)
        if attempt.healthy or attempt.at > limit or stopped():
            return attempts
        if attempt.status is None and not container.state().running:
            return attempts
        if attempt.at > next_report:
            next_report = attempt.at + REPORT_PERIOD
            report(attempt)
    raise AssertionError("pings never end")


def under_load(at: Address, payload: Payload) -> Results:
    """SageMaker's limit of 2 s and petbox's of half a second, from the same attempts."""
    attempts: list[Ping] = []
    with load(at, payload, CLIENTS):
        while len(attempts) < PINGS_UNDER_LOAD and all(attempt.healthy for attempt in attempts):
            time.sleep(0.05)
            attempts.append(ping(at, time.monotonic()))
    last = attempts[-1]
    if not last.healthy:
        failed = fails(f"under load of {CLIENTS} clients /ping was: {last} ({last.seconds:.1f} s)")
        yield "ping-in-time", failed
        yield "ping-under-load", failed
        return
    slowest = max(attempt.seconds for attempt in attempts)
    detail = f"slowest of {PINGS_UNDER_LOAD}: {slowest * 1000:.0f} ms, with {CLIENTS} busy clients"
    yield "ping-in-time", holds(detail)
    yield "ping-under-load", holds_if(slowest <= GUARANTEED_SECONDS, detail)


def empty_body(at: Address) -> str:
    response = request(at, "GET", "/ping", seconds=TIMEOUT)
    ok = response.status == 200 and not response.body
    return require(ok, f"{len(response.body)} bytes: {response}")


def head(at: Address) -> str:
    response = request(at, "HEAD", "/ping", seconds=TIMEOUT)
    return require(response.status == 200, f"HEAD /ping: {response}")


def beside_idle_connections(at: Address) -> str:
    """Clients that connect and send nothing, like a port scanner or a broken proxy."""
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(IDLE_CONNECTIONS):
                stack.enter_context(socket.create_connection((at.host, at.port), timeout=TIMEOUT))
        except OSError as error:
            raise Failed(f"the connection was refused: {error}") from error
        attempt = ping(at, time.monotonic())
    return require(attempt.healthy, f"/ping beside {IDLE_CONNECTIONS} of them: {attempt}")
