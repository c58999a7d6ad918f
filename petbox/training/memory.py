"""The memory available: the machine's, or the container's limit (cgroup versions 1 and 2)."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path("/")  # below which the kernel's files are
SHARE = 8  # one part of which may be used for a cache; the rest is for the model and the system


def fits(sizes: Iterable[int]) -> bool:
    """Whether items of these sizes fit into a cache; stops reading at the first that does not."""
    room = total() // SHARE
    for size in sizes:
        room -= size
        if room < 0:
            return False
    return True


def total() -> int:
    """Bytes of memory, of the machine or of the container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, *limits(), machine)


def described() -> str:
    """The limit as a sentence names it."""
    limit = min(limits(), default=None)
    if limit is not None and limit <= total():
        return f"the memory limit of {limit / 2**30:.1f} GiB (cgroup)"
    return f"this machine's {total() / 2**30:.1f} GiB of memory"


def limits() -> list[int]:
    """The limits of this process's control group and of those above it."""
    found = []
    for folder in _groups():
        for name in ("memory.max", "memory.limit_in_bytes"):  # of version 2 and 1
            with contextlib.suppress(OSError, ValueError):  # a number, or `max`
                found.append(int((folder / name).read_text()))
    return found


@contextlib.contextmanager
def death_reported(advice: str) -> Iterator[None]:
    """Prints a line if the kernel kills this process for its memory.

    A small child prints it, because a killed process cannot. To be entered before locks are taken
    and threads are started.
    """
    before, ours, theirs = _kills(), *os.pipe()
    child = os.fork()
    if child == 0:
        os.close(theirs)
        _watch(ours, before, f"error: killed out of memory, at {described()}; {advice}\n")
    os.close(ours)
    try:
        yield
    finally:
        os.write(theirs, b"done")
        os.close(theirs)
        os.waitpid(child, 0)


def _watch(end: int, before: int, line: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the trainer saves a checkpoint, and then ends
    if not os.read(end, 4) and _kills() > before:
        os.write(2, line.encode())
    os._exit(0)


def _kills() -> int:
    """How many processes the kernel has killed for memory, in this control group or at all."""
    names = ("memory.events", "memory.oom_control")  # of version 2 and 1
    files = [folder / name for folder in _groups() for name in names]
    for file in (*files, ROOT / "proc/vmstat"):
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


def _groups() -> Iterator[Path]:
    """The folders of this process's control group, then those above; in a container only one."""
    places = []
    with contextlib.suppress(OSError):
        for line in (ROOT / "proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" and not controllers:
                places += [(ROOT / "sys/fs/cgroup", path), (ROOT / "sys/fs/cgroup/unified", path)]
            elif "memory" in controllers.split(","):
                places.append((ROOT / "sys/fs/cgroup/memory", path))
    for mount, path in places:
        below = mount / path.strip("/")
        # Seen from a container, its own group is at the root, whatever the path says.
        yield from (one for one in (below, *below.parents) if one.is_relative_to(mount))
