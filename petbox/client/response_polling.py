"""Waits for results that appear about in the order in which they were asked for.

Looking for one costs a request. So only the next few are looked for, and more once those are there;
those that were overtaken are looked for from time to time. Pauses follow the pace of the results.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from petbox.aws.wait import until
from petbox.cli.parallel import in_order

Item = TypeVar("Item")
Result = TypeVar("Result")

FEW = 2
SHORTEST, LONGEST = 0.1, 5.0  # seconds between polls
OVERTAKEN = 2.0  # seconds between polls for those that were overtaken


class Polling(Generic[Item, Result]):
    """`look` returns None before there is a result; its second argument is whether to look for a
    failure too, which is worth a request only if an item is late."""

    def __init__(
        self,
        items: Mapping[int, Item],
        look: Callable[[Item, bool], Result | None],
        parallel: int,
        seconds: float,
    ) -> None:
        self.waiting = dict(items)
        self._look, self._parallel, self._seconds = look, parallel, seconds
        self._newest, self._idle, self._pause = -1, False, SHORTEST
        self._last, self._looked_back = time.monotonic(), 0.0

    def next(self) -> dict[int, Result]:
        """What has come, by number; nothing if nothing came in `seconds`."""

        def settled(came: dict[int, Result]) -> bool:
            return bool(came) or time.monotonic() - self._last > self._seconds

        return until(settled, self.poll, lambda: time.sleep(self._pause))

    def poll(self) -> dict[int, Result]:
        came: dict[int, Result] = {}
        ahead = [n for n in self.waiting if n > self._newest]
        if not ahead or time.monotonic() - self._looked_back > OVERTAKEN:
            came |= self._found([n for n in self.waiting if n < self._newest], late=True)
            self._looked_back = time.monotonic()
        start, size = 0, FEW
        while start < len(ahead):
            some = ahead[start : start + size]
            found = self._found(some, late=self._idle)
            came |= found
            if len(found) < len(some):
                break
            start, size = start + size, 2 * size
        for n in came:
            del self.waiting[n]
        self._idle = not came
        self._pause = min(LONGEST, 1.5 * self._pause) if self._idle else self._pause / 2
        self._pause = max(SHORTEST, self._pause)
        if came:
            self._newest, self._last = max(self._newest, *came), time.monotonic()
        return came

    def _found(self, numbers: Sequence[int], *, late: bool) -> dict[int, Result]:
        looked = in_order(
            lambda n: (n, self._look(self.waiting[n], late)),
            numbers,
            self._parallel,
            threading.Event(),
        )
        return {n: result for n, result in looked if result is not None}
