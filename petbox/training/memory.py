"""The memory available for a cache: the machine's, or the container's limit."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/memory.max")  # a number, or `max`
SHARE = 8  # one part of which may be used; the rest is for the model and the system


def fits(sizes: Iterable[int]) -> bool:
    """Whether items of these sizes fit; stops reading at the first that does not."""
    room = total() // SHARE
    for size in sizes:
        room -= size
        if room < 0:
            return False
    return True


def total() -> int:
    """Bytes of memory, of the machine or of the container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(CGROUP.read_text()))
    except (OSError, ValueError):
        return machine
