"""Progress of long work: a bar with an ETA on a terminal, sparse lines in a log.

Both go to stderr. `NO_COLOR` and `TERM=dumb` are honoured by rich.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from petbox.errors import needs
from petbox.program import say

SECONDS_BETWEEN_LINES = 15.0


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """Yields `advance(by, note)`; `note` is a few words shown beside the bar, such as the loss.

    `done` is what an earlier, interrupted run had finished already.
    """
    follow = _bar if sys.stderr.isatty() else _lines
    with follow(title, total, done) as advance:
        yield advance


@contextmanager
def _bar(title: str, total: int, done: int) -> Iterator[Callable[[int, str], None]]:
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
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")

        def advance(by: int, note: str = "") -> None:
            bar.update(task, advance=by, note=note)

        yield advance


@contextmanager
def _lines(title: str, total: int, done: int) -> Iterator[Callable[[int, str], None]]:
    start = last_line = time.monotonic()
    at = done

    def line(note: str) -> None:
        seconds = time.monotonic() - start
        left = seconds / max(at - done, 1) * (total - at)
        say(f"{title}: {at}/{total} {note} {seconds:.0f} s, ETA {left:.0f} s".replace("  ", " "))

    def advance(by: int, note: str = "") -> None:
        nonlocal at, last_line
        at += by
        if at >= total or time.monotonic() - last_line >= SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            line(note)

    yield advance
