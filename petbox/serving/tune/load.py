"""Closed-loop load: each connection sends its next request after the response."""

from __future__ import annotations

import contextlib
import http.client
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from petbox.serving.http_client import Address, NoResponse, request_on

ENOUGH_SECONDS = 120.0  # for one response


@dataclass(frozen=True)
class Example:
    """The request that is sent, and what it is, for people."""

    body: bytes
    content_type: str
    title: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": self.content_type}


@dataclass
class Sample:
    """What the connections of one turn, or of several, saw."""

    seconds: list[float] = field(default_factory=list)  # of each response
    failed: int = 0
    elapsed: float = 0.0

    def add(self, other: Sample) -> None:
        self.seconds += other.seconds
        self.failed += other.failed
        self.elapsed += other.elapsed


@dataclass(frozen=True)
class Level:
    """What so many connections saw; times in milliseconds."""

    connections: int
    rate: float  # responses a second
    p50: float
    p99: float
    failed: int

    @staticmethod
    def of(connections: int, sample: Sample) -> Level:
        times = sorted(1000 * one for one in sample.seconds) or [float("inf")]
        rate = len(sample.seconds) / sample.elapsed
        p99 = times[int(0.99 * (len(times) - 1) + 0.5)]
        return Level(connections, rate, statistics.median(times), p99, sample.failed)


def send(at: Address, example: Example, connections: int, seconds: float,
         stopped: Callable[[], bool]) -> Sample:  # fmt: skip
    """Sends the example on so many connections for so long, and at least once on each."""
    samples = [Sample() for _ in range(connections)]
    begin = time.perf_counter()
    until = begin + seconds
    _in_threads(lambda sample: _one_connection(at, example, until, stopped, sample), samples)
    whole = Sample(elapsed=time.perf_counter() - begin)
    for sample in samples:
        whole.add(sample)
    return whole


def _one_connection(
    at: Address, example: Example, until: float, stopped: Callable[[], bool], sample: Sample
) -> None:
    connection = http.client.HTTPConnection(at.host, at.port, timeout=ENOUGH_SECONDS)
    with contextlib.closing(connection):
        while True:
            start = time.perf_counter()
            try:
                response = request_on(
                    connection, "POST", "/invocations", example.body, example.headers
                )
            except NoResponse:
                connection.close()  # the next request opens it again
                sample.failed += 1
            else:
                if response.status == 200:
                    sample.seconds.append(time.perf_counter() - start)
                else:
                    sample.failed += 1
            if time.perf_counter() >= until or stopped():
                return


def _in_threads(act: Callable[[Sample], None], samples: Sequence[Sample]) -> None:
    threads = [threading.Thread(target=act, args=(one,), daemon=True) for one in samples]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
