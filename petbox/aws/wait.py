"""Polls AWS until something has settled, and rides out short outages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from petbox.aws import session
from petbox.cli.program import say

T = TypeVar("T")

MOST_FAILED_POLLS = 60  # in a row


def until(settled: Callable[[T], bool], poll: Callable[[], T], wait: Callable[[], object]) -> T:
    """The first result of `poll` that is `settled`."""
    failed = 0
    while True:
        try:
            seen = poll()
            if settled(seen):
                return seen
            failed = 0
        except session.Unavailable as error:
            failed += 1
            if failed == 1:
                say(f"{error}; retrying")
            elif failed == MOST_FAILED_POLLS:
                raise
        wait()
