"""Ends a process in which a handler hangs: a thread cannot be ended alone."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path

GRACE = 1.0  # seconds after which the client has got its 504
PAUSE = 0.5


class Running:
    """As a context: a request in the user's code. One that takes too long restarts the process."""

    def __init__(self, seconds: float, socket: Path) -> None:
        self.seconds, self.socket = seconds, socket
        self.since: dict[int, float] = {}  # by thread
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> None:
        self.since[threading.get_ident()] = time.monotonic()

    def __exit__(self, *_: object) -> None:
        del self.since[threading.get_ident()]

    def _watch(self) -> None:
        while True:
            time.sleep(PAUSE)
            limit = time.monotonic() - self.seconds - GRACE
            for thread, since in list(self.since.items()):
                if since < limit:
                    self._restart(thread)

    def _restart(self, thread: int) -> None:
        frame = sys._current_frames().get(thread)
        print(
            f"a handler has not returned within {self.seconds} s; the process is restarted. "
            f"It is here:\n{''.join(traceback.format_stack(frame))}",
            file=sys.stderr,
            flush=True,
        )
        self.socket.unlink()  # the gateway uses the other processes meanwhile
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # the same program again
