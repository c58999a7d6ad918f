"""Items in parallel: what happens after a failure."""

from __future__ import annotations

import threading

import pytest

from petbox.cli.parallel import in_order


def test_after_a_failure_nothing_starts_and_what_is_in_progress_is_finished() -> None:
    started: set[int] = set()
    stop = threading.Event()
    all_busy = threading.Barrier(4)

    def act(number: int) -> int:
        started.add(number)
        if number >= 10:
            all_busy.wait(30)
            if number == 10:
                raise OSError("the server is not there")
            assert stop.wait(30)
        return number

    finished: list[int] = []
    with pytest.raises(OSError, match="the server is not there"):
        finished.extend(in_order(act, range(40), 4, stop))
    assert started == set(range(14))
    assert finished == [*range(10), 11, 12, 13]
