"""What /ping reports when the model server process in a container hangs or dies.

Finds the process and signals it through the image's shell; without a shell nothing is tried.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from petbox.serving.conform.contract import Result, fails, holds, not_tried
from petbox.serving.conform.invocations import invoke, succeeded
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.ping import ping
from petbox.serving.docker import Container
from petbox.serving.http_client import NoResponse, Response

# Process names in /proc have at most 15 characters.
KNOWN = ("tensorflow_mode", "tritonserver", "torchserve", "ovms", "java")
NOTICED_WITHIN = 6.0  # seconds; SageMaker pings every 5
STOPS_WITHIN = 1.0  # of SIGSTOP, on a busy machine
PAUSE = 0.2
EXITS_WITHIN = 2.0  # seconds from the model server's death to the container's

# Shell builtins only, since an image need not have ps. The first line is the shell itself.
LIST_PROCESSES = (
    'echo $$; for f in /proc/[0-9]*/stat; do read -r line <"$f" && echo "$line"; done 2>/dev/null'
)


class Process(NamedTuple):
    pid: int
    name: str
    pages: int  # of memory


def processes(container: Container) -> list[Process] | None:
    """All processes in the container except our shell; None if it has no shell."""
    output = container.exec("sh", "-c", LIST_PROCESSES)
    if output is None:
        return None
    shell, *lines = output.splitlines()
    return [process for process in map(_process, lines) if process.pid != int(shell)]


def _process(line: str) -> Process:
    """A line of /proc/PID/stat; the name is in parentheses and may hold any character."""
    before, _, after = line.rpartition(")")
    pid, _, name = before.partition(" (")
    return Process(int(pid), name, int(after.split()[21]))


def model_server(running: Iterable[Process], name: str | None) -> list[Process]:
    """The model server's processes: by the given name, a known name, or the largest process.

    PID 1 only counts if there is no other process.
    """
    every = list(running)
    if name is not None:
        return [process for process in every if process.name == name[:15]]
    others = [process for process in every if process.pid != 1] or every
    known = [process for process in others if process.name in KNOWN]
    largest = max(known or others, key=lambda process: process.pages, default=None)
    return [process for process in others if largest and process.name == largest.name]


def on_hang(container: Container, payload: Payload, name: str | None) -> Result:
    """Suspends the model server with SIGSTOP, then resumes it."""
    found = _find(container, name)
    if isinstance(found, Result):
        return found
    if not _kill(container, "STOP", found):
        return not_tried(f"{found[0].name} cannot be stopped from outside")
    try:
        return _ping_notices(container, payload, f"{found[0].name} hangs", hung=True)
    finally:
        _kill(container, "CONT", found)


def on_death(container: Container, payload: Payload, name: str | None) -> tuple[Result, Result]:
    """SageMaker's requirement on /ping, and petbox's guarantee that the container exits."""
    found = _find(container, name)
    if isinstance(found, Result):
        return found, found
    name = found[0].name
    if [process.pid for process in found] == [1]:
        alone = not_tried(f"{name} is the only process: when it dies, the container exits")
        return alone, alone
    start = time.monotonic()
    # A container that exits at once takes the shell along, before it has reported that it killed.
    if not _kill(container, "KILL", found) and container.wait(EXITS_WITHIN) is None:
        failed = not_tried(f"{name} cannot be killed from outside")
        return failed, failed
    required = _ping_notices(container, payload, f"{name} was killed", hung=False)
    code = container.wait(max(0.1, start + EXITS_WITHIN + 1 - time.monotonic()))
    if code is None:
        return required, fails(f"{name} was killed, and the container still runs")
    last_line = next(iter(container.log(1)), "(empty log)")
    guaranteed = holds if code != 0 else fails
    return required, guaranteed(f"{name} was killed: exit code {code}; {last_line}")


def _find(container: Container, name: str | None) -> list[Process] | Result:
    running = processes(container)
    if running is None:
        return not_tried("the image has no shell to list its processes with")
    found = model_server(running, name)
    if not found:
        names = ", ".join(sorted({process.name for process in running}))
        return not_tried(f"no process is named {name}; running: {names}")
    return found


def _kill(container: Container, signal: str, found: list[Process]) -> bool:
    pids = " ".join(str(process.pid) for process in found)
    return container.exec("sh", "-c", f"kill -{signal} {pids}") is not None


def _ping_notices(container: Container, payload: Payload, event: str, *, hung: bool) -> Result:
    """Waits until /ping is not 200, or the model responds nevertheless."""
    at, start = container.at, time.monotonic()
    response: Response | NoResponse = NoResponse("never requested")
    while time.monotonic() - start < NOTICED_WITHIN:
        attempt = ping(at, start)
        seconds = time.monotonic() - start
        if not attempt.healthy:
            if not container.state().running:
                return holds(f"{event}: the container exited after {seconds:.1f} s")
            return holds(f"{event}: /ping after {seconds:.1f} s: {attempt}")
        response = invoke(at, payload, seconds=5)
        if succeeded(response) and (not hung or seconds > STOPS_WITHIN):
            if hung:
                return not_tried(
                    f"{event}, and /invocations works: it is not the model server; "
                    "name its process: --engine NAME"
                )
            return holds(f"{event}: it works again after {seconds:.1f} s")
        time.sleep(PAUSE)
    return fails(
        f"{event}: /ping still returns 200 after {NOTICED_WITHIN:.0f} s; /invocations: {response}"
    )
