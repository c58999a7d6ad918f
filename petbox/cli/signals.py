"""Signals that ask to stop, heeded also while the main thread waits for a lock.

Of a signal that comes to another thread, or just before such a wait begins, Python only makes a
note, and looks at it when the wait is over: never, where the signal was to end it. A byte in a
pipe, which C writes as the signal comes, wakes whoever reads there.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def heard(numbers: Iterable[signal.Signals], act: Callable[[], object]) -> Iterator[None]:
    """Until the end of this, each of these signals calls `act`, in a thread."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    fd_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        with ours:
            while number := ours.recv(1):
                if number[0] in before:
                    act()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd_before)
        for earlier, handler in before.items():
            signal.signal(earlier, handler)
        theirs.close()


class StopRequest:
    """Whether somebody has asked."""

    def __init__(self) -> None:
        self.code = 0  # what the process is to exit with, once it was asked

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Until the end of this, the two signals do no more than to set `code`."""
        with signals_go_to(self._note):
            yield

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.code:
            raise KeyboardInterrupt  # somebody at a terminal has no patience for the last step
        self.code = 128 + number


@contextmanager
def signals_go_to(handler: Any) -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, earlier in zip(numbers, before, strict=True):
            signal.signal(number, earlier)
