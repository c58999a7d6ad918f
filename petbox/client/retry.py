"""Asking again where a server says that it has too much to do just now, and nowhere else.

Each pause is a matter of chance, so that those who were turned away together do not come back
together. A refused picture is never sent again, nor is one to a server that failed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import TypeVar

from petbox.errors import ServiceError

Body = TypeVar("Body")
Answer = TypeVar("Answer")

FIRST = 0.5  # seconds, at most, of the first pause; each may be twice as long as that before
LONGEST = 10.0
PATIENCE = 120.0  # seconds of pauses for one request: twice what the longest answer takes


class Busy(ServiceError):
    """A server that turns a request away for now; `after` so many seconds it may fare better."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


def patient(
    ask: Callable[[Body], Answer],
    pause: Callable[[float], object],
    tell: Callable[[str], object] = lambda _: None,
    patience: float = PATIENCE,
) -> Callable[[Body], Answer]:
    """`ask`, tried again while the server is busy.

    `pause` waits so many seconds and says whether to give up; `tell` is called before the first.
    """

    def asking(body: Body) -> Answer:
        waited = 0.0
        for turn in itertools.count():
            try:
                return ask(body)
            except Busy as busy:
                seconds = busy.after + random.uniform(0, min(LONGEST, FIRST * 2**turn))
                if waited + seconds > patience:
                    raise ServiceError(
                        f"{busy}; it stayed so for {waited:.0f} s; ask with a smaller --parallel, "
                        "or add instances"
                    ) from busy
                if turn == 0:
                    tell(str(busy))
                if pause(seconds):
                    raise
                waited += seconds
        raise AssertionError  # counting has no end

    return asking
