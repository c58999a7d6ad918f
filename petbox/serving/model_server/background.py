"""Work that requests to other models pass: in threads of its own, with a lower priority."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

STEP = 15  # a thread that competes with one of the usual priority gets a thirtieth of a core

_this_thread = threading.local()


def run(works: Iterable[Callable[[], Result]], at_once: int, yields: bool = True) -> list[Result]:
    """Their results, or the first error in their order.

    They yield to requests, if asked to. Nobody waits for them when the process stops.
    """
    waiting = [(work, Future[Result]()) for work in works]
    ends = [done for _, done in waiting]

    def body() -> None:
        _this_thread.is_background = yields
        if yields and sys.platform == "linux":  # elsewhere it is the priority of the whole process
            os.nice(STEP)
        with contextlib.suppress(IndexError):
            while True:
                work, done = waiting.pop(0)
                try:
                    done.set_result(work())
                except BaseException as error:
                    done.set_exception(error)

    for _ in range(at_once):
        threading.Thread(target=body, name="background", daemon=True).start()
    return [done.result() for done in ends]


def is_this_thread() -> bool:
    return getattr(_this_thread, "is_background", False)
