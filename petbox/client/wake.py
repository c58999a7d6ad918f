"""Waits for an inference component that is scaled to zero: a call that it rejects starts a copy.

All threads of a detector wait for the same copy, so that its start is reported once for all.
"""

from __future__ import annotations

import logging
import threading
import time

from petbox.errors import NoCapacity

SECONDS = 30 * 60.0  # longer than an instance takes to start
BETWEEN_REPORTS = 60.0


class Wake:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._since: float | None = None
        self._reported = 0.0

    def waiting(self, error: NoCapacity) -> None:
        """Reports the wait, again every minute; raises once it has taken too long."""
        if not self._seconds:
            raise error
        with self._lock:
            now = time.monotonic()
            if self._since is None:
                self._since = self._reported = now
                self._report(
                    f"{error}; this call starts a copy if its scaling allows that, which takes "
                    f"minutes; waiting up to {self._seconds / 60:g} minutes"
                )
            waited = now - self._since
            if waited >= self._seconds:
                raise NoCapacity(
                    f"{error}, still so after {waited / 60:.0f} minutes; wait longer with --wait "
                    "(in Python wait_for), or check its scaling: petbox endpoint status"
                ) from error
            if now - self._reported >= BETWEEN_REPORTS:
                self._reported = now
                self._report(f"{error} yet, after {waited / 60:.0f} minutes")

    def over(self) -> None:
        if self._since is not None:
            with self._lock:
                self._since = None

    def _report(self, text: str) -> None:
        logging.getLogger(__name__).warning(text)
