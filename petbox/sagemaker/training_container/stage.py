"""A stage of the chain, run as the program that it is, by a process that may be PID 1.

Its words are passed on to stderr and the last of them kept, so that a failure can be told in its
own. TERM and Ctrl-C are passed on as well, and then waited for: training saves a checkpoint first.
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

SECONDS_TO_STOP = 100  # of the 120 that SageMaker gives; what is left is for sending files away
LINES_KEPT = 20
INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
ERROR = "error: "  # how `petbox.cli.program` begins the line that says why


class StageFailed(PetboxError):
    """A stage said why it could not be finished, or died."""


def run(
    program: Path,
    words: list[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs `program` to its end; leaves this process as soon as it is asked to stop."""
    asked: list[int] = []
    process: subprocess.Popen[str] | None = None

    def stop(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        if process is not None:
            say(f"{program.name}: asked to stop")
            process.terminate()
            if len(asked) == 1:  # asking again gives no more time
                signal.alarm(SECONDS_TO_STOP)

    def kill(_number: int, _frame: FrameType | None) -> None:
        assert process is not None
        say(f"{program.name}: did not stop within {SECONDS_TO_STOP} s and is killed")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    with _handled({signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGALRM: kill}):
        process = subprocess.Popen(
            [sys.executable, "-u", str(program), *words],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches it through us alone
            text=True,
            errors="replace",
        )
        if asked:  # while it was being started
            process.terminate()
            signal.alarm(SECONDS_TO_STOP)
        last: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
        reader = threading.Thread(target=_pass_on, args=(process, last), daemon=True)
        reader.start()
        code = process.wait()
        signal.alarm(0)
        reader.join(1.0)  # whoever it started may hold the pipe open for longer
    if asked:
        sys.exit(128 + asked[0])
    if code in INTERRUPTED:  # where hosts train together, one that is asked to stop stops all
        sys.exit(code)
    if code:
        raise StageFailed(f"{program.name}: {_reason(code, list(last))}")


def _reason(code: int, last: list[str]) -> str:
    if code == -signal.SIGKILL:
        return "was killed; the likeliest reason is that memory ran out, so take a larger machine"
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    said = [line for line in last if line.startswith(ERROR)]
    reason = (said or last or [f"left with {code} and said nothing"])[-1]
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
