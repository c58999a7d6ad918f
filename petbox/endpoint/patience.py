"""Patience with AWS: looking again and again until something has settled, through short outages.

Looks only; what is seen is told, and judged, by the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from petbox import aws
from petbox.program import say

T = TypeVar("T")

MOST_LOOKS_IN_VAIN = 60  # in a row, when AWS cannot be reached


def until(settled: Callable[[T], bool], look: Callable[[], T], wait: Callable[[], object]) -> T:
    """What `look` saw when it had `settled`."""
    in_vain = 0
    while True:
        try:
            seen = look()
            if settled(seen):
                return seen
            in_vain = 0
        except aws.Unavailable as error:
            in_vain += 1
            if in_vain == 1:
                say(f"{error}; trying on")
            elif in_vain == MOST_LOOKS_IN_VAIN:
                raise
        wait()
