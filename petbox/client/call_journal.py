"""The calls that were made of an asynchronous endpoint, so that an interrupted run resumes.

A file in the user's cache for each configuration of an endpoint. A call is known by the digest of
its request. A run without a failed image removes the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
import time

from petbox import outputs

SECONDS = 6 * 3600  # SageMaker drops a request that was queued for longer


@dataclasses.dataclass(frozen=True)
class Called:
    """Where in S3 the response of a call will be, or what made it fail."""

    output: str
    failure: str | None


class Journal:
    def __init__(self, *of: str) -> None:
        name = hashlib.sha256("\n".join(of).encode()).hexdigest()[:16]
        self._path = outputs.cache("calls") / f"{name}.jsonl"
        self._lock = threading.Lock()
        self._calls: dict[str, Called] = {}
        for line in self._path.read_text().splitlines() if self._path.exists() else ():
            try:
                digest, at, *locations = json.loads(line)
            except ValueError:  # the run ended while it was written
                continue
            if not locations:
                self._calls.pop(digest, None)
            elif at > time.time() - SECONDS:
                self._calls[digest] = Called(*locations)

    def find(self, digest: str) -> Called | None:
        return self._calls.get(digest)

    def add(self, digest: str, called: Called) -> None:
        self._write(digest, *dataclasses.astuple(called))

    def forget(self, digest: str) -> None:
        self._write(digest)

    def end(self) -> None:
        self._path.unlink(missing_ok=True)

    def _write(self, digest: str, *locations: str | None) -> None:
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps([digest, time.time(), *locations]) + "\n")
