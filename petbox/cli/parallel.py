"""Runs a function over many items in threads, and yields the results in order.

At most `parallel` items are in progress, and none starts far ahead of the oldest unfinished one, so
memory is bounded. The first failure ends it. Threads, because waiting for networks and decoding
images release Python's lock.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sized
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 8  # results that may wait for an older one, per thread
GRACE = 5.0  # seconds for requests in progress to finish after a failure


def in_order(
    act: Callable[[Item], Result], items: Iterable[Item], parallel: int, stop: threading.Event
) -> Generator[Result, None, None]:
    """The result of `act` for each item, `parallel` of them at a time.

    An exception is raised here after the results that were finished anyway. `stop` is set when no
    more results are needed, for an `act` that waits.
    """
    if isinstance(items, Sized):
        parallel = min(parallel, len(items))
    if parallel <= 1:
        yield from map(act, items)  # and Ctrl-C reaches it
        return
    workers = _Workers(act, items, parallel, stop)
    try:
        for index in itertools.count():
            if not workers.wait_for(index):
                break
            yield workers.results.pop(index)
            workers.ahead.release()
        if workers.failure:
            workers.end(GRACE)
            yield from (workers.results[index] for index in sorted(workers.results))
            raise workers.failure
    finally:
        workers.end(0.0)


class _Workers(Generic[Item, Result]):
    """Threads that take one item after the other until none is left or `stop` is set.

    Daemons: an interrupted program does not wait for a server that hangs.
    """

    def __init__(
        self,
        act: Callable[[Item], Result],
        items: Iterable[Item],
        parallel: int,
        stop: threading.Event,
    ) -> None:
        self.results: dict[int, Result] = {}  # not yielded yet, by the item's index
        self.failure: BaseException | None = None  # the first one
        self.ahead = threading.Semaphore(AHEAD * parallel)
        self._act, self._stop, self._running = act, stop, parallel
        self._items, self._one_at_a_time = enumerate(items), threading.Lock()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(parallel)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, index: int) -> bool:
        """Waits for this result; False after a failure, or if there are no more."""
        with self._changed:
            self._changed.wait_for(
                lambda: index in self.results or self.failure or not self._running
            )
            return index in self.results and not self.failure

    def end(self, seconds: float) -> None:
        """Starts nothing new, and waits up to `seconds` for what is in progress."""
        self._stop.set()
        self.ahead.release()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        failure = None
        try:
            for index, item in iter(self._next, None):
                result = self._act(item)
                with self._changed:
                    self.results[index] = result
                    self._changed.notify()
        except BaseException as error:
            self._stop.set()
            failure = error
        with self._changed:
            self._running -= 1
            self.failure = self.failure or failure
            self._changed.notify()
        self.ahead.release()  # so that the others end as well

    def _next(self) -> tuple[int, Item] | None:
        self.ahead.acquire()
        with self._one_at_a_time:
            return None if self._stop.is_set() else next(self._items, None)
