"""Retries with exponential backoff, for overloaded servers and those that are scaled to zero.

Each pause is random, so that clients rejected together do not return together. A rejected image is
never sent again, and neither is anything to a server that failed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import SystemRandom
from typing import TypeVar

from petbox.errors import Busy, NoCapacity

Result = TypeVar("Result")

# Not random's own numbers, which containers restored from one snapshot (SnapStart) would share.
CHANCE = SystemRandom()
FIRST = 0.5  # seconds: the longest first pause; the limit doubles each time
LONGEST = 10.0
SECONDS = 120.0  # of pauses for one request: twice the longest response time


def while_busy(
    call: Callable[[], Result],
    pause: Callable[[float], object],
    warn: Callable[[str], object] = lambda _: None,
    seconds: float = SECONDS,
    at_zero: Callable[[NoCapacity], object] = lambda _: None,
) -> Result:
    """The result of `call`, which is called again while the server is busy.

    `pause` waits so many seconds and returns whether to give up; `warn` is called before the first.
    `at_zero` is called while there is no capacity; it raises once that has taken too long.
    """
    waited = 0.0
    for turn in itertools.count():
        try:
            return call()
        except NoCapacity as error:
            at_zero(error)
            if pause(CHANCE.uniform(0, min(LONGEST, FIRST * 2**turn))):
                raise
        except Busy as busy:
            delay = busy.after + CHANCE.uniform(0, min(LONGEST, FIRST * 2**turn))
            if not seconds:
                raise
            if waited + delay > seconds:
                raise Busy(
                    f"{busy}; still so after {waited:.0f} s of retries; process fewer images at "
                    "once (--parallel, in Python parallel), or add instances",
                    busy.after,
                ) from busy
            if turn == 0:
                warn(str(busy))
            if pause(delay):
                raise
            waited += delay
    raise AssertionError  # count() never ends
