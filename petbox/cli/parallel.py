"""Runs a function over many items in threads, and yields the results in order.

At most `parallel` items are in progress, and none starts far ahead of the oldest unfinished one, so
memory is bounded. The first failure ends it. Threads, because the work is waiting for networks.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sized
from typing import Generic, TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")

AHEAD = 8  # results that may wait for an older one, per thread
GRACE = 5.0  # seconds for requests in progress to finish after a failure


def in_order(
    act: Callable[[Thing], Result],
    things: Iterable[Thing],
    parallel: int,
    stop: threading.Event,
) -> Generator[Result, None, None]:
    """The result of `act` for each thing, `parallel` of them at a time.

    An exception is raised here after the results that were finished anyway. `stop` is set when no
    more results are needed, for an `act` that waits.
    """
    if isinstance(things, Sized):
        parallel = min(parallel, len(things))
    if parallel <= 1:
        yield from map(act, things)  # and Ctrl-C reaches it
        return
    crew = _Crew(act, things, parallel, stop)
    waiting: dict[int, Result] = {}
    try:
        running = parallel
        for turn in itertools.count():
            while turn not in waiting and running:
                done = crew.next_done()
                if done is None:
                    running -= 1
                else:
                    waiting[done[0]] = done[1]
            if turn not in waiting:
                return
            yield waiting.pop(turn)
            crew.room.release()
    except _Failed as failed:
        waiting |= crew.last_done()
        yield from (waiting[at] for at in sorted(waiting))
        raise failed.cause from None
    finally:
        crew.end(0.0)


class _Failed(Exception):
    def __init__(self, cause: BaseException) -> None:
        self.cause = cause


class _Crew(Generic[Thing, Result]):
    """Threads that take one thing after the other until none is left or `stop` is set.

    Daemons: an interrupted program does not wait for a server that hangs.
    """

    def __init__(
        self,
        act: Callable[[Thing], Result],
        things: Iterable[Thing],
        parallel: int,
        stop: threading.Event,
    ) -> None:
        self.room = threading.Semaphore(AHEAD * parallel)
        self._act, self._stop = act, stop
        self._left, self._one_at_a_time = enumerate(things), threading.Lock()
        self._done: queue.SimpleQueue[tuple[int, Result] | _Failed | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(parallel)]
        for thread in self._threads:
            thread.start()

    def next_done(self) -> tuple[int, Result] | None:
        """A place and its result, in any order; None when a thread has nothing left to do."""
        done = self._done.get()
        if isinstance(done, _Failed):
            raise done
        return done

    def last_done(self) -> dict[int, Result]:
        """Results that arrive after a failure; further failures are dropped."""
        self.end(GRACE)
        found = {}
        while not self._done.empty():
            done = self._done.get()
            if isinstance(done, tuple):
                found[done[0]] = done[1]
        return found

    def end(self, seconds: float) -> None:
        """Starts nothing new, and waits up to `seconds` for what is in progress."""
        self._stop.set()
        self.room.release()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while True:
            self.room.acquire()
            try:
                with self._one_at_a_time:
                    taken = None if self._stop.is_set() else next(self._left, None)
                if taken is None:
                    self.room.release()  # so that the others end as well
                    self._done.put(None)
                    return
                at, thing = taken
                self._done.put((at, self._act(thing)))
            except BaseException as error:
                self._stop.set()
                self._done.put(_Failed(error))
