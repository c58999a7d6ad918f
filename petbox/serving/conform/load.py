"""Requests one after another from several clients, for as long as something else is looked at."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from petbox.serving.conform.http import Address, NoAnswer
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.start import Came, outcome, works


@dataclass(frozen=True)
class Exchange:
    """One request: when it was sent, when it ended, and how."""

    sent: float
    ended: float
    came: Came

    @property
    def answered(self) -> bool:
        return works(self.came)


class Load:
    """What the clients have exchanged so far."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.over = threading.Event()


@contextlib.contextmanager
def load(at: Address, payload: Payload, clients: int) -> Iterator[Load]:
    """`clients` that each send the next request when the last is answered; all are awaited."""
    now = Load()

    def client() -> None:
        while not now.over.is_set():
            sent = time.monotonic()
            came = outcome(at, payload)
            now.exchanges.append(Exchange(sent, time.monotonic(), came))
            if isinstance(came, NoAnswer):
                now.over.wait(0.05)  # nobody there: not to spin

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield now
    finally:
        now.over.set()
        for thread in threads:
            thread.join()
