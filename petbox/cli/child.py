"""A child process: its output is passed on, and it never outlives us."""

from __future__ import annotations

import contextlib
import ctypes
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from petbox.cli.program import say

PR_SET_PDEATHSIG = 1
# TensorFlow and LiteRT print this before they can be silenced; users cannot act on it.
CHATTER = re.compile(
    r"WARNING: All log messages before absl|[IW]0000 00:00:|INFO: Created TensorFlow Lite XNNPACK"
)


class Child:
    """Started at once, in its own session, so that Ctrl-C reaches it only through us.

    On Linux it gets SIGTERM if we are killed and cannot stop it.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        exited: Callable[[], object],
        output: Callable[[str], object] = say,
    ) -> None:
        self._output = output
        self._process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_begin,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._pass_on, daemon=True)
        self._reader.start()
        threading.Thread(target=self._announce, args=(exited,), daemon=True).start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self) -> int:
        """Waits until it has exited and all its output is passed on; 128 + N for signal N."""
        code = self._process.wait()
        self._reader.join(1.0)
        return code if code >= 0 else 128 - code

    def _pass_on(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.strip() and not CHATTER.match(line):
                with contextlib.suppress(OSError):  # our reader is gone; the child continues
                    self._output(line.rstrip())

    def _announce(self, exited: Callable[[], object]) -> None:
        self._process.wait()
        exited()


_libc = ctypes.CDLL(None)


def _begin() -> None:
    die_with_parent()
    # A shell ignores it for a command in the background, and bash could not handle it then.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def die_with_parent() -> None:
    if hasattr(_libc, "prctl"):
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
