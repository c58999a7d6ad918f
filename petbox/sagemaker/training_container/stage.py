"""Runs a stage as a program of its own, from a process that may be PID 1.

The program's output goes to stderr, and its last lines become the reason of a failure. SIGTERM and
Ctrl-C are forwarded, and the program is waited for: training saves a checkpoint first.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from petbox.cli.program import say
from petbox.errors import PetboxError

SECONDS_TO_STOP = 100  # of SageMaker's 120; the rest is for uploads
LINES_KEPT = 20
INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
ERROR = "error: "  # the start of `petbox.cli.program`'s error lines


class StageFailed(PetboxError):
    """A stage reported an error, or died."""


def run(program: Path, arguments: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Runs `program` to its end; exits this process if a stop is requested meanwhile."""
    stops: list[int] = []
    process: subprocess.Popen[str] | None = None

    def stop(number: int, _frame: FrameType | None) -> None:
        stops.append(number)
        if process is not None:
            say(f"{program.name}: stop requested")
            process.terminate()
            if len(stops) == 1:  # a second request does not extend the time
                signal.alarm(SECONDS_TO_STOP)

    def kill(_number: int, _frame: FrameType | None) -> None:
        assert process is not None
        say(f"{program.name}: did not stop within {SECONDS_TO_STOP} s; killing it")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    with _handled({signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGALRM: kill}):
        process = subprocess.Popen(
            [sys.executable, "-u", str(program), *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that only we forward Ctrl-C
            text=True,
            errors="replace",
        )
        if stops:  # while it was being started
            process.terminate()
            signal.alarm(SECONDS_TO_STOP)
        last: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
        reader = threading.Thread(target=_pass_on, args=(process, last), daemon=True)
        reader.start()
        code = process.wait()
        signal.alarm(0)
        reader.join(1.0)  # its children may keep the pipe open
    if stops:
        sys.exit(128 + stops[0])
    if code in INTERRUPTED:  # one host that stops ends training on all
        sys.exit(code)
    if code:
        raise StageFailed(f"{program.name}: {_reason(code, list(last))}")


def _reason(code: int, last: list[str]) -> str:
    errors = [line for line in last if line.startswith(ERROR)]
    if code == -signal.SIGKILL and not errors:
        return "was killed, probably out of memory; use a larger machine"
    if code < 0 and not errors:
        return f"died of {signal.Signals(-code).name}"
    reason = (errors or last or [f"exited with {code} without output"])[-1]
    return re.sub(r"^(\S+\.py: )?error: ", "", reason)  # argparse begins with its own name


def _pass_on(process: subprocess.Popen[str], last: collections.deque[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        say(line.rstrip())
        if line.strip():
            last.append(line.strip())


@contextlib.contextmanager
def _handled(handlers: Mapping[signal.Signals, Callable[..., Any]]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
