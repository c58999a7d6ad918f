"""Work that is begun at once and asked for later, as Lambda wants a slow start.

Lambda begins anew with a function that has not come to listen within ten seconds, and what it has
done by then is lost. What takes longer goes on beside, and whoever asks first waits for its end.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """What `work` gives. Work that failed is begun again, for whoever asks next."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(work)

    def wait(self, seconds: float) -> None:
        """Until it is done, but no longer; a failure that shows meanwhile is raised."""
        if wait([self._future], seconds).done:
            self._future.result()

    def result(self) -> T:
        """Once it is done."""
        try:
            return self._future.result()
        except Exception:
            self._future = self._pool.submit(self._work)
            raise
