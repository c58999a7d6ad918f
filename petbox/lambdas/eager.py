"""Work that is begun at once and asked for later, as Lambda wants a slow start.

Lambda begins anew with a function that has not come to listen within ten seconds, and what it has
done by then is lost. What takes longer goes on beside, and whoever asks first waits for its end.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """What `work` gives. Work that failed is told once, and begun again when somebody asks.

    Not before: Lambda stops the process after each answer, and with it what goes on beside.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(1)
        self._future: Future[T] | None = self._pool.submit(work)

    def wait(self, seconds: float) -> None:
        """Until it is done or has failed, but no longer."""
        if self._future is not None:
            wait([self._future], seconds)

    def result(self) -> T:
        """Once it is done."""
        future = self._future = self._future or self._pool.submit(self._work)
        try:
            return future.result()
        except Exception:
            self._future = None
            raise
