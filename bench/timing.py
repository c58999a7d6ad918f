"""Latency and throughput of calls, for several benchmarks."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence

Call = Callable[[], object]

TURNS = 10  # of each kind; the machine drifts


def medians(calls: Sequence[Call], requests: int, turns: int = TURNS) -> list[float]:
    """p50 of each in milliseconds, alternating."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(turns):
        for call, times in zip(calls, taken, strict=True):
            call()  # the first after another kind finds cold caches
            times += [seconds(call) for _ in range(max(requests // turns, 1))]
    return [1000 * statistics.median(times) for times in taken]


def seconds(call: Call) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def rate(callers: list[Call], requests: int) -> float:
    """Calls per second of all callers together, each in its own thread."""
    each = max(requests // len(callers), 1)

    def work(call: Call) -> None:
        for _ in range(each):
            call()

    threads = [threading.Thread(target=work, args=(call,)) for call in callers]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return each * len(callers) / (time.perf_counter() - begin)
