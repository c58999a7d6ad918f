"""Slow work that starts with the Lambda function and may finish after it.

Lambda restarts a function that is not ready within ten seconds, and what it has done by then is
lost. What takes longer continues in a thread, and the first request waits for it. Before a snapshot
or a provisioned container is ready, Lambda allows at least 130 s.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from petbox.lambdas import settings

T = TypeVar("T")


def seconds_to_start() -> float:
    """How long a function may take until its handler is ready."""
    kind = settings.text("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    return 120.0 if kind in ("provisioned-concurrency", "snap-start") else 8.0


class Eager(Generic[T]):
    """The result of `work`, which starts at once. A failure is raised to one caller; the next one
    starts the work again.

    Not before: Lambda freezes the process after each response, and its threads with it.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(1)
        self._future: Future[T] | None = self._pool.submit(work)

    def wait(self, seconds: float) -> None:
        """Until it is done or has failed, but no longer than `seconds`."""
        if self._future is not None:
            wait([self._future], seconds)

    def result(self) -> T:
        future = self._future = self._future or self._pool.submit(self._work)
        try:
            return future.result()
        except Exception:
            self._future = None
            raise
