"""How much memory there is to keep things in: the machine's, or what a container may take of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/memory.max")  # a number, or `max`
SHARE = 8  # of which one part may be taken; the rest is the model's and the system's


def fits(sizes: Iterable[int]) -> bool:
    """Whether things of so many bytes may all be kept; asks no further than to the first no."""
    room = _all() // SHARE
    for size in sizes:
        room -= size
        if room < 0:
            return False
    return True


def _all() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(CGROUP.read_text()))
    except (OSError, ValueError):
        return machine
