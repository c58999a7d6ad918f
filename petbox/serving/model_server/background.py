"""Work that requests to other models pass: in a thread of its own, with a lower priority."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

STEP = 15  # a thread that competes with one of the usual priority gets a thirtieth of a core

_this_thread = threading.local()


def run(work: Callable[[], Result]) -> Result:
    """Returns when it has ended. Nobody waits for it when the process stops."""
    done: Future[Result] = Future()

    def body() -> None:
        _this_thread.is_background = True
        if sys.platform == "linux":  # elsewhere it is the priority of the whole process
            os.nice(STEP)
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=body, name="background", daemon=True).start()
    return done.result()


def is_this_thread() -> bool:
    return getattr(_this_thread, "is_background", False)
