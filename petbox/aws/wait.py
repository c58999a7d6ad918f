"""Patience with what AWS does: looking again and again until it has settled, through short outages.

Looks only; what is seen is told, and judged, by the caller.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from petbox.aws import session
from petbox.cli.program import say

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
        except session.Unavailable as error:
            in_vain += 1
            if in_vain == 1:
                say(f"{error}; trying on")
            elif in_vain == MOST_LOOKS_IN_VAIN:
                raise
        wait()


@contextmanager
def outlived_by(name: str, follow: str, stop: str) -> Iterator[None]:
    """Says, when we are interrupted, that the job `name` is not, and the commands for it."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted here, not there; follow the job: {follow} {name}, stop it: {stop} {name}")
        sys.exit(130)
