"""Progress of long work: a bar with an ETA on a terminal, sparse lines in a log.

Both go to stderr. `NO_COLOR` and `TERM=dumb` are honoured by rich.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from petbox.cli.program import say
from petbox.cli.sizes import MB
from petbox.errors import needs

SECONDS_BETWEEN_LINES = 15.0


Advance = Callable[[int, str], None]


def progress(title: str, total: int | None, done: int = 0) -> AbstractContextManager[Advance]:
    """Yields `advance(by, note)`; `note` is a few words shown beside the bar, such as the loss.

    `done` was finished by an earlier, interrupted run. Work without a `total` goes on until it is
    stopped.
    """
    return (_bar if sys.stderr.isatty() else _lines)(title, total, done)


@contextmanager
def _bar(title: str, total: int | None, done: int) -> Iterator[Advance]:
    needs("rich", "client")
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    # What is printed to a file or a pipe must go there, and not above the bar.
    above = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=above) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")

        def advance(by: int, note: str = "") -> None:
            bar.update(task, advance=by, note=note)

        yield advance


@contextmanager
def _lines(title: str, total: int | None, done: int) -> Iterator[Advance]:
    start = last_line = time.monotonic()
    at = done

    def advance(by: int, note: str = "") -> None:
        nonlocal at, last_line
        at += by
        now = time.monotonic()
        if (total and at >= total) or now - last_line >= SECONDS_BETWEEN_LINES:
            last_line, seconds = now, now - start
            if total:
                left = seconds / max(at - done, 1) * (total - at)
                words = f"{title}: {at}/{total} {note} {seconds:.0f} s, ETA {left:.0f} s"
            else:
                words = f"{title}: {at} {note} {seconds:.0f} s"
            say(words.replace("  ", " "))

    yield advance


@contextmanager
def meter(title: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yields `at(position)`, to be called with the bytes done so far.

    Shows nothing if the `total` is unknown.
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
