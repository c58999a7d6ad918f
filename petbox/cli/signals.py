"""Stop signals that are handled even while the main thread waits for a lock.

Python runs signal handlers between bytecodes of the main thread, so a signal that should end a wait
would be handled only after it. A byte in a wake-up pipe, which C writes when the signal arrives,
wakes the thread that reads it.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def handled(
    numbers: Collection[signal.Signals], act: Callable[[signal.Signals], object]
) -> Iterator[None]:
    """Within the block, `act` is called with each of these signals, in a thread."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def listen() -> None:
        with ours:
            while number := ours.recv(1):
                if number[0] in numbers:
                    act(signal.Signals(number[0]))

    threading.Thread(target=listen, daemon=True).start()
    with theirs, signals_go_to(lambda *_: None, numbers):
        fd_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd_before)


class StopRequest:
    """Whether a stop was requested."""

    def __init__(self) -> None:
        self.code = 0  # the exit code, once a stop was requested

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Within the block, the two signals only set `code`."""
        with signals_go_to(self._note):
            yield

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.code:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait for the last step
        self.code = 128 + number


@contextmanager
def signals_go_to(handler: Any, numbers: Collection[signal.Signals] = STOP) -> Iterator[None]:
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, earlier in zip(numbers, before, strict=True):
            signal.signal(number, earlier)
