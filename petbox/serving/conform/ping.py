"""SageMaker's health check: one GET /ping with 2 s to answer, again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from petbox.serving.conform.http import Address, NoAnswer, ask

LIMIT = 2.0  # seconds for one attempt
START_LIMIT = 480.0  # seconds from the start to the first 200
SERVERLESS_LIMIT = 180.0
PERIOD = 5.0  # seconds between attempts, as seen on real endpoints
PATIENCE = 10.0  # how long we listen to an answer that comes too late, to tell slow from silent


@dataclass(frozen=True)
class Ping:
    """One attempt, `at` so many seconds after the start."""

    at: float
    seconds: float
    status: int | None = None  # None: no answer
    said: str = ""  # the body, or why there was no answer

    @property
    def healthy(self) -> bool:
        """As SageMaker sees it: 200, and in time."""
        return self.status == 200 and self.seconds < LIMIT

    def __str__(self) -> str:
        if self.status is None:
            return self.said
        late = f" after {self.seconds:.1f} s" if self.seconds >= LIMIT else ""
        return f"{self.said}{late}"


def ping(at: Address, start: float, patience: float = LIMIT) -> Ping:
    """One attempt; `start` is when the container was started, by the monotonic clock."""
    begun = time.monotonic()
    try:
        answer = ask(at, "GET", "/ping", seconds=patience)
    except NoAnswer as error:
        return Ping(begun - start, time.monotonic() - begun, said=str(error))
    return Ping(begun - start, answer.seconds, answer.status, str(answer))


def pings(at: Address, start: float, period: float, patience: float = LIMIT) -> Iterator[Ping]:
    """Attempts without end, begun `period` seconds apart or as soon as the one before is over."""
    while True:
        attempt = ping(at, start, patience)
        yield attempt
        time.sleep(max(0.0, period - attempt.seconds))
