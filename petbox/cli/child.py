"""A child process: its output is passed on, its exit is reported, and it never outlives us."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable

from petbox.cli.program import say

LINES_KEPT = 20
PR_SET_PDEATHSIG = 1
# TensorFlow prints this before it can be silenced; users cannot act on it.
CHATTER = re.compile(r"WARNING: All log messages before absl|[IW]0000 00:00:")


class Child:
    """Started at once, in its own session, so that Ctrl-C reaches it only through us.

    On Linux it also exits if we are killed and cannot stop it.
    """

    def __init__(self, name: str, command: list[str], died: Callable[[Child], object]) -> None:
        self.name = name
        self._last_lines: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._pass_on, daemon=True)
        self._reader.start()
        threading.Thread(target=self._announce, args=(died,), daemon=True).start()

    def stop(self, number: signal.Signals, seconds: float) -> None:
        """Sends the signal and waits; kills the child if it is still there then, or on Ctrl-C."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            say(f"{self.name} did not stop within {seconds:.0f} s and is killed")
        finally:
            self._kill_session()
            self._reader.join(1.0)

    def exit_reason(self) -> str:
        """One line: which program exited, how, and its last output."""
        self._reader.join(1.0)  # the last lines may still be in the pipe
        code = self._process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        words = " / ".join(line for line in list(self._last_lines)[-3:])
        return f"{self.name} {how}; its last output: {words or '(none)'}"

    def _kill_session(self) -> None:
        """Including its children: nginx's workers outlive a killed master."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _pass_on(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.strip() and not CHATTER.match(line):
                self._last_lines.append(line.strip())
                with contextlib.suppress(OSError):  # our reader is gone; the child continues
                    say(line.rstrip())

    def _announce(self, died: Callable[[Child], object]) -> None:
        self._process.wait()
        died(self)


_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    if hasattr(_libc, "prctl"):
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
