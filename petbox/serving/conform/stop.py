"""The end of a container: TERM while requests are in flight.

A request is surely in flight when half of it has been sent, however fast the model is.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from petbox.serving.conform.finding import Finding, fails, holds, judged
from petbox.serving.conform.http import Address, NoAnswer, ending, first_answer
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.refusals import HOST
from petbox.serving.conform.start import ANSWER_LIMIT, Came, works
from petbox.serving.docker import Container, Image

LIMIT = 30.0  # seconds from TERM to KILL
SETTLING = 0.5  # seconds for the halves to arrive, and for the signal
SHELLS = ("/bin/sh", "/bin/bash", "sh", "bash")


@dataclass(frozen=True)
class Ending:
    in_time: Finding
    loses_none: Finding
    exits_0: Finding


def end(container: Container, image: Image, payload: Payload, in_flight: int = 1) -> Ending:
    """Sends TERM while so many requests are half sent, and waits as long as SageMaker does."""
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(_half(container.at, payload)) for _ in range(in_flight)]
        time.sleep(SETTLING)
        asked = time.monotonic()
        container.signal("TERM")
        time.sleep(SETTLING)
        came = list(_rest(lines, payload))
        code = container.ended(max(0.1, asked + LIMIT - time.monotonic()))
        seconds = time.monotonic() - asked
    lost = [one for one in came if not works(one)]
    seen = f"{in_flight} in flight, {len(lost) or 'none'} lost"
    kept = fails(f"{seen}: {lost[0]}") if lost else holds(seen)
    if code is None:
        why = _why_ignored(image)
        late = fails(f"still running {LIMIT:.0f} s after TERM, when SageMaker kills it{why}")
        return Ending(late, kept, fails("it did not end"))
    in_time = judged(seconds <= LIMIT, f"it ended after {seconds:.1f} s")
    return Ending(in_time, kept, judged(code == 0, f"exit code {code}"))


@contextlib.contextmanager
def _half(at: Address, payload: Payload) -> Iterator[socket.socket | NoAnswer]:
    """A connection on which half of a request has been sent."""
    head = (
        f"Content-Type: {payload.kind}\r\nContent-Length: {len(payload.body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    start = b"POST /invocations HTTP/1.1\r\n" + HOST + head.encode()
    try:
        with ending(ANSWER_LIMIT):
            line = socket.create_connection((at.host, at.port), timeout=ANSWER_LIMIT)
            line.sendall(start + payload.body[: len(payload.body) // 2])
    except NoAnswer as error:
        yield error
        return
    with line:
        yield line


def _rest(lines: list[socket.socket | NoAnswer], payload: Payload) -> Iterator[Came]:
    """Sends every other half, then takes the answers."""
    for line in lines:
        if isinstance(line, socket.socket):
            with contextlib.suppress(OSError):  # reading tells how it ended
                line.sendall(payload.body[len(payload.body) // 2 :])
    for line in lines:
        if isinstance(line, NoAnswer):
            yield line
            continue
        start = time.monotonic()
        try:
            with ending(ANSWER_LIMIT):
                yield first_answer(line, start)
        except NoAnswer as error:
            yield error


def _why_ignored(image: Image) -> str:
    """What usually keeps TERM from arriving."""
    if image.entrypoint[:1] and image.entrypoint[0] in SHELLS and "-c" in image.entrypoint:
        return "; its ENTRYPOINT is a shell's, which passes no signal on: write it in exec form"
    return "; PID 1 must handle TERM: a script ends in exec, or traps it"
