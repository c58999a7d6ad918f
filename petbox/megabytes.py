"""Progress of work that is measured in bytes, told in megabytes of a million."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from petbox.progress import progress

MB = 1_000_000


def megabytes(size: int) -> str:
    """A size as a person reads it."""
    return f"{size / MB:.1f} MB" if size < 100 * MB else f"{size // MB} MB"


@contextmanager
def meter(title: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yields `at(position)`, to be called with the bytes behind us so far.

    Where the `total` is not known there is nothing to show, and nothing is.
    """
    if total is None:
        yield lambda _position: None
        return
    whole = -(-total // MB)
    shown = done // MB
    with progress(title, whole, shown) as advance:

        def at(position: int) -> None:
            nonlocal shown
            now = whole if position >= total else position // MB
            if now != shown:
                advance(now - shown, "MB")
                shown = now

        yield at
