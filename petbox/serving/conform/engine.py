"""The process in a container that holds the model: found, stopped and killed, and what /ping says.

Needs a shell in the image, and nothing else of it. Where there is none nothing is tried.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from petbox.serving.conform.finding import Finding, fails, holds, not_tried
from petbox.serving.conform.http import NoAnswer
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.ping import ping
from petbox.serving.conform.start import Came, outcome, works
from petbox.serving.docker import Container

# By what they are called in /proc, which is at most 15 characters.
KNOWN = ("tensorflow_mode", "tritonserver", "torchserve", "ovms", "java")
NOTICED_WITHIN = 6.0  # seconds; SageMaker asks every 5
EVERY = 0.2
PROMISED = 2.0  # seconds from the engine's death to the container's
NAME_IT = "name its process: --engine NAME"

# The shell's own words only: an image need not have ps. The first line is the shell itself.
LIST = (
    'echo $$; for f in /proc/[0-9]*/stat; do read -r line <"$f" && echo "$line"; done 2>/dev/null'
)


class Process(NamedTuple):
    pid: int
    name: str
    pages: int  # of memory


def processes(container: Container) -> list[Process] | None:
    """Those in the container but our own shell; None if there is no looking inside."""
    said = container.inside("sh", "-c", LIST)
    if said is None:
        return None
    ours, *lines = said.splitlines()
    return [one for one in map(_process, lines) if one.pid != int(ours)]


def _process(line: str) -> Process:
    """A line of /proc/PID/stat; the name is in parentheses and may hold any character."""
    before, _, after = line.rpartition(")")
    pid, _, name = before.partition(" (")
    return Process(int(pid), name, int(after.split()[21]))


def engine(found: Iterable[Process], name: str | None) -> list[Process]:
    """The processes of the engine: by the name given, by a known one, else the largest's.

    PID 1 is the container itself, and only meant where there is nothing else.
    """
    every = list(found)
    if name is not None:
        return [one for one in every if one.name == name[:15]]
    others = [one for one in every if one.pid != 1] or every
    known = [one for one in others if one.name in KNOWN]
    largest = max(known or others, key=lambda one: one.pages, default=None)
    return [one for one in others if largest is not None and one.name == largest.name]


def on_hang(container: Container, payload: Payload, name: str | None) -> Finding:
    """The engine is stopped as a hung one is, then goes on."""
    found = _found(container, name)
    if isinstance(found, Finding):
        return found
    if not _send(container, "STOP", found):
        return not_tried(f"{found[0].name} cannot be stopped from outside")
    try:
        return _truth(container, payload, f"{found[0].name} hangs", hung=True)
    finally:
        _send(container, "CONT", found)


def on_death(container: Container, payload: Payload, name: str | None) -> tuple[Finding, Finding]:
    """The demand that /ping sees it, and the promise that the container ends."""
    found = _found(container, name)
    if isinstance(found, Finding):
        return found, found
    if [one.pid for one in found] == [1]:
        alone = not_tried(f"{found[0].name} is the only process: its death is the container's")
        return alone, alone
    began = time.monotonic()
    if not _send(container, "KILL", found):
        failed = not_tried(f"{found[0].name} cannot be killed from outside")
        return failed, failed
    name = found[0].name
    demand = _truth(container, payload, f"{name} was killed", hung=False)
    code = container.ended(max(0.1, began + PROMISED + 1 - time.monotonic()))
    if code is None:
        return demand, fails(f"{name} was killed, and the container still runs")
    words = next(iter(container.log(1)), "(no last line)")
    promise = holds if code != 0 else fails
    return demand, promise(f"{name} was killed: exit code {code}; {words}")


def _found(container: Container, name: str | None) -> list[Process] | Finding:
    every = processes(container)
    if every is None:
        return not_tried("there is no shell in the image to look inside with")
    found = engine(every, name)
    if not found:
        names = ", ".join(sorted({one.name for one in every}))
        return not_tried(f"no process is called {name}; there are {names}")
    return found


def _send(container: Container, signal: str, to: list[Process]) -> bool:
    pids = " ".join(str(one.pid) for one in to)
    return container.inside("sh", "-c", f"kill -{signal} {pids}") is not None


def _truth(container: Container, payload: Payload, what: str, *, hung: bool) -> Finding:
    """Waits for /ping to be anything but 200, unless the model answers all the same."""
    at, began = container.at, time.monotonic()
    came: Came = NoAnswer("never asked")
    while time.monotonic() - began < NOTICED_WITHIN:
        attempt = ping(at, began)
        seconds = time.monotonic() - began
        if not attempt.healthy:
            if not container.state().running:
                return holds(f"{what}: the container ended after {seconds:.1f} s")
            return holds(f"{what}: /ping after {seconds:.1f} s: {attempt}")
        came = outcome(at, payload, seconds=5)
        if works(came):
            if hung:
                return not_tried(f"{what}, and /invocations works: it is not the engine; {NAME_IT}")
            return holds(f"{what}: it works again after {seconds:.1f} s")
        time.sleep(EVERY)
    return fails(f"{what}: /ping still says 200 after {NOTICED_WITHIN:.0f} s; /invocations: {came}")
