"""A request to stop, by TERM or Ctrl-C, kept until it suits.

An exception from within TensorFlow's own code may end the process on the spot, so that nothing is
saved.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


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
